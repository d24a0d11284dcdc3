#include "agent/site/usage.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/site/state_list.h"
#include "base/bytes.h"
#include "base/files.h"
#include "base/log.h"

namespace tidemark {
namespace {

using std::chrono::hours;
using json = nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kKey = "samples";
constexpr std::uint64_t kFileBytesMax = kMiB;
constexpr hours kStep{1};
constexpr hours kKept{14 * 24};
constexpr hours kShortest{24};
constexpr hours kFarthest{10 * 366 * 24};

}  // namespace

std::optional<Timestamp> full_at(std::span<const UsageSample> samples, std::uint64_t total_bytes) {
  if (samples.empty()) return std::nullopt;
  const UsageSample& last = samples.back();
  if (last.used_bytes >= total_bytes) return last.time;
  if (samples.size() < 3 || last.time - samples.front().time < kShortest) return std::nullopt;
  // Both axes from the last sample on, so that large numbers do not eat the small ones.
  const auto count = static_cast<double>(samples.size());
  double mean_t = 0, mean_b = 0;
  const auto t_of = [&](const UsageSample& s) {
    return static_cast<double>((s.time - last.time).count());
  };
  const auto b_of = [&](const UsageSample& s) {
    return static_cast<double>(s.used_bytes) - static_cast<double>(last.used_bytes);
  };
  for (const UsageSample& s : samples) {
    mean_t += t_of(s) / count;
    mean_b += b_of(s) / count;
  }
  double tt = 0, tb = 0;
  for (const UsageSample& s : samples) {
    tt += (t_of(s) - mean_t) * (t_of(s) - mean_t);
    tb += (t_of(s) - mean_t) * (b_of(s) - mean_b);
  }
  const double slope = tt > 0 ? tb / tt : 0;  // bytes per microsecond
  if (!(slope > 0)) return std::nullopt;
  const double left = static_cast<double>(total_bytes - last.used_bytes) / slope;
  const std::chrono::microseconds farthest = kFarthest;
  if (!(left < static_cast<double>(farthest.count()))) return std::nullopt;
  return last.time + std::chrono::microseconds(static_cast<std::int64_t>(left));
}

void UsageHistory::open() {
  open_ = true;
  const auto items = read_state_list(file_, kKey, kVersion, kFileBytesMax);
  if (!items) {
    if (items.error().code() == ErrorCode::corruption)
      log::warn("{}: the forecast begins anew", items.error().message());
    return;
  }
  for (const json& item : *items) {
    const bool whole = item.is_array() && item.size() == 2 && item[0].is_string() &&
                       item[1].is_number_unsigned();
    const auto time = whole ? parse_time(item[0].get<std::string>(), {})
                            : Result<Timestamp>(Error(ErrorCode::corruption, "no sample"));
    if (!time || (!samples_.empty() && *time <= samples_.back().time)) continue;
    samples_.push_back({*time, item[1].get<std::uint64_t>()});
  }
}

Status UsageHistory::add(const UsageSample& sample) {
  if (!open_) open();
  std::erase_if(samples_, [&](const UsageSample& s) {
    return s.time > sample.time || sample.time - s.time > kKept;
  });
  if (!samples_.empty() && sample.time - samples_.back().time < kStep) return {};
  samples_.push_back(sample);
  json items = json::array();
  for (const UsageSample& s : samples_) items.push_back({format_time(s.time), s.used_bytes});
  return replace_file(file_, as_bytes(format_state_list(kKey, kVersion, std::move(items))));
}

}  // namespace tidemark
