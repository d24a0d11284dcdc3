// The body of a watch, cut anywhere, as events. Pure: it reads no connection and keeps no object.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace tidemark::kube {

enum class EventType { added, modified, deleted, bookmark, error, unknown };

struct WatchEvent {
  EventType type = EventType::unknown;
  nlohmann::json object;  // of an error: a Status
};

// Used by one thread. An event is one JSON object and a newline; how the bytes are cut means
// nothing. After an error it is of no further use.
class EventParser {
 public:
  // `event_bytes_max`: of one event; a longer one is `resource_exhausted`.
  explicit EventParser(std::size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  // Takes the next bytes, and hands over each event that is complete with them, in order. An error
  // of `on_event` is passed on. `corruption` for what is no event.
  Status feed(ByteView bytes, const std::function<Status(WatchEvent)>& on_event);

  // Whether bytes of an event without its end have come: at the end of the stream they are lost.
  bool is_within_event() const { return !line_.empty(); }

 private:
  Status end_line(std::string_view line, const std::function<Status(WatchEvent)>& on_event);

  const std::size_t event_bytes_max_;
  std::string line_;
};

}  // namespace tidemark::kube
