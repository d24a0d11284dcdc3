#include "agent/standby/standby_status.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tidemark {
namespace {

nlohmann::json optional_time(const std::optional<Timestamp>& time) {
  return time ? nlohmann::json(format_time(*time)) : nlohmann::json(nullptr);
}

}  // namespace

std::chrono::microseconds StandbyStatus::lag() const {
  if (!newest_time || state == "primary") return std::chrono::microseconds::zero();
  if (!point_time) return std::chrono::microseconds::max();
  return std::max(*newest_time - *point_time, std::chrono::microseconds::zero());
}

nlohmann::json standby_json(const StandbyStatus& status) {
  const auto lag = status.lag();
  return {{"site", status.site},
          {"asset", status.asset},
          {"image", status.image},
          {"state", status.state},
          {"point", status.point ? nlohmann::json(status.point->hex()) : nlohmann::json(nullptr)},
          {"point_time", optional_time(status.point_time)},
          {"newest_time", optional_time(status.newest_time)},
          {"lag_seconds", lag == std::chrono::microseconds::max()
                              ? nlohmann::json(nullptr)
                              : nlohmann::json(std::chrono::duration<double>(lag).count())},
          {"token", status.token},
          {"mended", status.mended},
          {"error", status.error.empty() ? nlohmann::json(nullptr) : nlohmann::json(status.error)}};
}

}  // namespace tidemark
