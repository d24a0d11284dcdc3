// What the points of each site take in a store: counted once, and kept as points come and go.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace tidemark {

// Safe from any thread; changes come from one at a time.
class SiteUsage {
 public:
  using Bytes = std::map<std::string, std::uint64_t, std::less<>>;

  // Nothing before set().
  std::optional<std::uint64_t> of(std::string_view site) const {
    const std::lock_guard lock(mutex_);
    if (!bytes_) return std::nullopt;
    const auto at = bytes_->find(site);
    return at == bytes_->end() ? 0 : at->second;
  }
  bool counted() const {
    const std::lock_guard lock(mutex_);
    return bytes_.has_value();
  }
  void set(Bytes bytes) {
    const std::lock_guard lock(mutex_);
    bytes_ = std::move(bytes);
  }
  // Nothing happens before set(): what is counted then has it.
  void add(const std::string& site, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes_) (*bytes_)[site] += bytes;
  }
  void subtract(const std::string& site, std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (bytes_) (*bytes_)[site] -= bytes;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Bytes> bytes_;  // guarded by mutex_
};

}  // namespace tidemark
