// What is usual for an asset, and what is far out of it: as when something encrypts a volume, which
// changes much of it at once and leaves nothing to compress.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

// Of one incremental point.
struct PointNorm {
  std::uint64_t size_bytes = 0;  // of the asset
  std::uint64_t changed_bytes = 0, shipped_bytes = 0;
  std::uint64_t seconds = 0;  // since the point before; at least 1
  bool operator==(const PointNorm&) const = default;
};

// In words what is unusual about `point` after `history` (oldest first); empty: nothing. Pure. An
// asset has a norm once eight points are known. Unusual is
// - a change at more than ten times the usual rate (the median of bytes per second) and more than
//   was ever seen, of more than a twentieth of the asset, and of more than 64 MiB;
// - of more than 64 MiB nearly nothing that can be compressed or is known (shipped at 95 % of what
//   changed), where usually a third or more of it can.
std::string unusual(std::span<const PointNorm> history, const PointNorm& point);

// The last 30 points of each asset and store, in a file of the state directory (JSON, version 1); a
// file that cannot be understood begins anew. Safe from any thread.
class NormBook {
 public:
  explicit NormBook(std::filesystem::path file) : file_(std::move(file)) {}
  // unusual(), and then the point is part of what is usual. `asset` and `to` tell lines apart.
  Result<std::string> add(const std::string& asset, const std::string& to, const PointNorm& point);

 private:
  using Key = std::pair<std::string, std::string>;
  void open();
  Status save() const;

  const std::filesystem::path file_;
  mutable std::mutex mutex_;
  bool open_ = false;                            // guarded by mutex_, as is the next
  std::map<Key, std::vector<PointNorm>> lines_;
};

}  // namespace tidemark
