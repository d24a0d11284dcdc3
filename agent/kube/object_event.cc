#include "agent/kube/object_event.h"

#include <fmt/core.h>

#include "base/log.h"
#include "base/text.h"
#include "transport/kube/lease.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::size_t kNoteBytesMax = 1000;  // the API takes 1 KiB
constexpr std::size_t kNameBytesMax = 230;   // with the time behind it, of 253
constexpr const char* kController = "tidemark.dev/agent";

}  // namespace

void record_event(kube::Client& client, const kube::Resource& resource, const json& object,
                  const ObjectEvent& event, const std::string& instance, Timestamp now,
                  const kube::Call& call) {
  const kube::ObjectRef ref = kube::ref_of(object);
  const std::string note = event.note.substr(0, kNoteBytesMax);
  const json made = {
      {"apiVersion", kube::kEvents.api_version()},
      {"kind", kube::kEvents.kind},
      {"metadata",
       {{"namespace", ref.ns},
        {"name", fmt::format("{}.{:x}", ref.name.substr(0, kNameBytesMax), now.us)}}},
      {"eventTime", kube::micro_time(now)},
      {"reportingController", kController},
      {"reportingInstance", instance},
      {"action", event.action},
      {"reason", event.reason},
      {"type", event.warning ? "Warning" : "Normal"},
      {"note", note.empty() ? event.reason : note.substr(0, utf8_prefix(note))},
      {"regarding",
       {{"apiVersion", resource.api_version()},
        {"kind", resource.kind},
        {"namespace", ref.ns},
        {"name", ref.name},
        {"uid", kube::uid_of(object)}}}};
  if (const auto done = client.create(kube::kEvents, made, {}, call); !done)
    log::warn("event on {} {}: {}", resource.plural, kube::to_string(ref), done.error().message());
}

}  // namespace tidemark
