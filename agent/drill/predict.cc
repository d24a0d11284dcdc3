#include "agent/drill/predict.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/bytes.h"

namespace tidemark {
namespace {

constexpr std::size_t kLast = 5;
// What restores reach over a local network, until one was measured.
constexpr double kAssumedBytesPerSecond = 200.0 * static_cast<double>(kMiB);
constexpr Duration kAssumedAtOnce = std::chrono::seconds(2);

bool by_rate(const std::string& method) { return method == "restore" || method == "file"; }

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double seconds(Duration duration) { return static_cast<double>(duration.count()) / 1e6; }

}  // namespace

Predictor::Predictor(std::span<const DrillReport> reports) {
  for (const DrillReport& report : reports)
    for (const DrillAsset& asset : report.assets)
      if (asset.rto.measured && asset.rto.measured->count() > 0 && asset.problem.empty())
        measured_.push_back(asset);
}

Prediction Predictor::predict(const std::string& site, const std::string& asset,
                              const std::string& method, std::uint64_t bytes) const {
  const bool rate = by_rate(method);
  const auto of = [&](bool this_asset) {
    std::vector<double> values;
    for (auto at = measured_.rbegin(); at != measured_.rend() && values.size() < kLast; ++at) {
      if (at->method != method || (rate && at->written_bytes == 0)) continue;
      if (this_asset && (at->site != site || at->asset != asset)) continue;
      const double took = seconds(*at->rto.measured);
      values.push_back(rate ? static_cast<double>(at->written_bytes) / took : took);
    }
    return values;
  };
  const auto time = [&](double value) {
    const double took = rate ? static_cast<double>(bytes) / value : value;
    return Duration(std::llround(took * 1e6));
  };
  if (const auto own = of(true); !own.empty()) return {time(median(own)), "asset"};
  if (const auto others = of(false); !others.empty()) return {time(median(others)), "others"};
  return {rate ? time(kAssumedBytesPerSecond) : kAssumedAtOnce, "assumed"};
}

PredictionRecord Predictor::record(const std::string& method) const {
  std::vector<double> ratios;
  for (const DrillAsset& asset : measured_)
    if (asset.method == method && asset.predicted && asset.predicted->count() > 0 &&
        asset.predicted_from != "assumed")
      ratios.push_back(seconds(*asset.rto.measured) / seconds(*asset.predicted));
  PredictionRecord record;
  record.count = ratios.size();
  if (ratios.empty()) return record;
  record.median = median(ratios);
  record.worst = *std::ranges::max_element(ratios);
  return record;
}

std::string to_text(const PredictionRecord& record) {
  if (record.count == 0) return "no earlier prediction was held against a drill";
  return fmt::format(
      "{} earlier predictions: the time was {:.2f} times what was said (median), at worst {:.2f} "
      "times",
      record.count, record.median, record.worst);
}

}  // namespace tidemark
