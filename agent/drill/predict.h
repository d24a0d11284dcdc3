// How long a recovery is going to take, from what earlier drills measured, and how good earlier
// predictions were.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/drill/report.h"

namespace tidemark {

struct Prediction {
  std::optional<Duration> time;
  std::string from;  // "asset", "others" (by the same method), "assumed"
};

// Of predictions that were held against what was measured.
struct PredictionRecord {
  std::size_t count = 0;
  double median = 0, worst = 0;  // measured / predicted; the worst is the largest
};

// Pure; safe from any thread.
class Predictor {
 public:
  // Oldest first. Only recoveries that came to their end count.
  explicit Predictor(std::span<const DrillReport> reports);

  // Of writing `bytes` of an asset by a method. What grows with the bytes goes by a rate, the
  // median of the last five; what does not, by the median time.
  Prediction predict(const std::string& site, const std::string& asset, const std::string& method,
                     std::uint64_t bytes) const;
  PredictionRecord record(const std::string& method) const;

 private:
  std::vector<DrillAsset> measured_;  // oldest first
};

// "16 earlier predictions: the time was 1.1 times what was said (median), at worst 1.9 times".
std::string to_text(const PredictionRecord& record);

}  // namespace tidemark
