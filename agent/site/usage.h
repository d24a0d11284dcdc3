// When a store will be full, as far as its past tells.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tidemark {

struct UsageSample {
  Timestamp time;
  std::uint64_t used_bytes = 0;
  bool operator==(const UsageSample&) const = default;
};

// By a straight line through `samples` (least squares; they are in the order of time). Nothing
// where they cover less than a day, where the line does not rise, or where it would take longer
// than ten years; the last sample's time where that is full already.
std::optional<Timestamp> full_at(std::span<const UsageSample> samples, std::uint64_t total_bytes);

// One sample an hour, of the last two weeks, in a file of the state directory (JSON, version 1). A
// file that cannot be understood begins anew. Used by one thread.
class UsageHistory {
 public:
  explicit UsageHistory(std::filesystem::path file) : file_(std::move(file)) {}
  // Keeps `sample` where the last one is an hour old. After a clock that was set back the samples
  // of its future go.
  Status add(const UsageSample& sample);
  std::span<const UsageSample> samples() const { return samples_; }

 private:
  void open();

  const std::filesystem::path file_;
  bool open_ = false;
  std::vector<UsageSample> samples_;
};

}  // namespace tidemark
