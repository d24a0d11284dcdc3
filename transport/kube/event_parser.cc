#include "transport/kube/event_parser.h"

#include <utility>

#include "base/json.h"
#include "transport/kube/document.h"

namespace tidemark::kube {
namespace {

EventType type_of(std::string_view text) {
  if (text == "ADDED") return EventType::added;
  if (text == "MODIFIED") return EventType::modified;
  if (text == "DELETED") return EventType::deleted;
  if (text == "BOOKMARK") return EventType::bookmark;
  if (text == "ERROR") return EventType::error;
  return EventType::unknown;
}

}  // namespace

Status EventParser::end_line(std::string_view line,
                             const std::function<Status(WatchEvent)>& on_event) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) return {};
  auto json = parse_document(line);
  if (!json.is_object() || !json.contains("object") || !json["object"].is_object())
    return Error(ErrorCode::corruption, "a watch delivered what is no event");
  return on_event({type_of(text_at(json, "type")), std::move(json["object"])});
}

Status EventParser::feed(ByteView bytes, const std::function<Status(WatchEvent)>& on_event) {
  std::string_view text = as_text(bytes);
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view part = text.substr(0, end);
    if (part.size() > event_bytes_max_ - line_.size())
      return Error(ErrorCode::resource_exhausted,
                   "an event is larger than " + std::to_string(event_bytes_max_) + " bytes");
    if (end == std::string_view::npos) {
      line_ += part;
      return {};
    }
    if (line_.empty()) {
      TM_DO(end_line(part, on_event));
    } else {
      line_ += part;
      // Events are small as a rule: one large one must not hold its memory for good.
      TM_DO(end_line(std::exchange(line_, std::string()), on_event));
    }
    text.remove_prefix(end + 1);
  }
  return {};
}

}  // namespace tidemark::kube
