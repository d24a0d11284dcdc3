// Events on the objects of tidemark.dev: what `kubectl describe` tells people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "transport/kube/client.h"

namespace tidemark {

struct ObjectEvent {
  bool warning = false;
  std::string action;  // what was being done: "Drill"
  std::string reason;  // one word for programs: "DrillFailed"
  std::string note;    // for people; cut where it is too long; empty: the reason
};

// Makes an event about the object, in its namespace. Best effort, as the status is what counts:
// where it cannot be made a warning is logged. `instance` tells agents from each other.
void record_event(kube::Client& client, const kube::Resource& resource,
                  const nlohmann::json& object, const ObjectEvent& event,
                  const std::string& instance, Timestamp now, const kube::Call& call);

}  // namespace tidemark
