#include "agent/site/norm.h"

#include <algorithm>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "agent/site/state_list.h"
#include "base/bytes.h"
#include "base/files.h"
#include "base/log.h"

namespace tidemark {
namespace {

using json = nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kKey = "lines";
constexpr std::uint64_t kFileBytesMax = 64 * kMiB;
constexpr std::size_t kKept = 30;
constexpr std::size_t kKnownMin = 8;
constexpr std::uint64_t kChangeMin = 64 * kMiB;
constexpr double kFarOut = 10;
constexpr std::uint64_t kPartOfAsset = 20;
constexpr double kIncompressible = 0.95, kUsuallyBelow = 0.67;

double rate_of(const PointNorm& point) {
  return static_cast<double>(point.changed_bytes) /
         static_cast<double>(std::max<std::uint64_t>(point.seconds, 1));
}
double share_of(const PointNorm& point) {
  return static_cast<double>(point.shipped_bytes) / static_cast<double>(point.changed_bytes);
}
double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

std::string unusual(std::span<const PointNorm> history, const PointNorm& point) {
  if (history.size() < kKnownMin || point.changed_bytes <= kChangeMin) return {};
  std::vector<double> rates, shares;
  double largest = 0;
  for (const PointNorm& old : history) {
    rates.push_back(rate_of(old));
    largest = std::max(largest, rates.back());
    // Of small changes the share says little: trees and packs count in it, too.
    if (old.changed_bytes > kMiB) shares.push_back(share_of(old));
  }
  std::string words;
  const double usual = median(rates);
  if (rate_of(point) > kFarOut * usual && rate_of(point) > largest &&
      point.changed_bytes > point.size_bytes / kPartOfAsset)
    words = fmt::format("{} changed in {} s, {} a second; usual are {} a second",
                        format_bytes(point.changed_bytes), point.seconds,
                        format_bytes(static_cast<std::uint64_t>(rate_of(point))),
                        format_bytes(static_cast<std::uint64_t>(usual)));
  if (shares.size() >= kKnownMin && share_of(point) > kIncompressible &&
      median(shares) < kUsuallyBelow) {
    if (!words.empty()) words += "; ";
    words += fmt::format("{:.0f}% of {} that changed cannot be compressed; usual are {:.0f}%",
                         100 * share_of(point), format_bytes(point.changed_bytes),
                         100 * median(shares));
  }
  return words;
}

void NormBook::open() {
  open_ = true;
  const auto lines = read_state_list(file_, kKey, kVersion, kFileBytesMax);
  if (!lines) {
    if (lines.error().code() == ErrorCode::corruption)
      log::warn("{}: what is usual is learnt anew", lines.error().message());
    return;
  }
  for (const json& line : *lines) {
    const bool whole = line.is_object() && line.value("asset", json()).is_string() &&
                       line.value("to", json()).is_string() &&
                       line.value("points", json()).is_array();
    if (!whole) continue;
    auto& points = lines_[{line["asset"].get<std::string>(), line["to"].get<std::string>()}];
    for (const json& item : line["points"]) {
      const bool numbers =
          item.is_array() && item.size() == 4 &&
          std::ranges::all_of(item, [](const json& n) { return n.is_number_unsigned(); });
      if (numbers && points.size() < kKept)
        points.push_back({item[0].get<std::uint64_t>(), item[1].get<std::uint64_t>(),
                          item[2].get<std::uint64_t>(), item[3].get<std::uint64_t>()});
    }
  }
}

Status NormBook::save() const {
  json lines = json::array();
  for (const auto& [key, points] : lines_) {
    json items = json::array();
    for (const PointNorm& p : points)
      items.push_back({p.size_bytes, p.changed_bytes, p.shipped_bytes, p.seconds});
    lines.push_back({{"asset", key.first}, {"to", key.second}, {"points", std::move(items)}});
  }
  return replace_file(file_, as_bytes(format_state_list(kKey, kVersion, std::move(lines))));
}

Result<std::string> NormBook::add(const std::string& asset, const std::string& to,
                                  const PointNorm& point) {
  const std::lock_guard lock(mutex_);
  if (!open_) open();
  auto& points = lines_[{asset, to}];
  std::string words = unusual(points, point);
  if (points.size() == kKept) points.erase(points.begin());
  points.push_back(point);
  TM_DO(save());
  return words;
}

}  // namespace tidemark
