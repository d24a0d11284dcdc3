// How a standby image stands: for people, for scripts, for Prometheus.
#pragma once

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"

namespace tidemark {

struct StandbyStatus {
  std::string site, asset, image;  // whose points; "pool/image" here
  // "following", "behind" (work is due or under way), "promoting", "primary", "demoting",
  // "demoted", "problem"
  std::string state;
  std::optional<PointId> point;  // that the image equals
  std::optional<Timestamp> point_time, newest_time;
  std::uint64_t token = 0;   // of the asset's role
  std::uint64_t mended = 0;  // times that somebody else's changes were undone, since the start
  std::string error;         // of the last try; empty where it went well
  // How much older the image is than the newest point.
  std::chrono::microseconds lag() const;
};
nlohmann::json standby_json(const StandbyStatus& status);

}  // namespace tidemark
