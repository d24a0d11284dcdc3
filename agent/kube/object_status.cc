#include "agent/kube/object_status.h"

#include <algorithm>

#include "agent/kube/claim.h"
#include "base/text.h"

namespace tidemark {
namespace {

using nlohmann::json;

constexpr std::size_t kMessageBytesMax = 1024;

}  // namespace

json with_condition(const json& before, const ObjectCondition& condition, std::int64_t generation,
                    Timestamp now) {
  json out = json::array();
  std::string since = kube_time(now);
  if (before.is_array())
    for (const json& one : before) {
      if (json_text(one, {"type"}) != condition.type) {
        out.push_back(one);
      } else if (json_text(one, {"status"}) == condition.status) {
        const std::string kept = json_text(one, {"lastTransitionTime"});
        if (!kept.empty()) since = kept;
      }
    }
  std::string cut = condition.message.substr(0, kMessageBytesMax);
  cut.resize(utf8_prefix(cut));
  out.push_back({{"type", condition.type},
                 {"status", condition.status},
                 {"reason", condition.reason},
                 {"message", cut},
                 {"observedGeneration", generation},
                 {"lastTransitionTime", since}});
  return out;
}

std::int64_t generation_of(const json& object) {
  const json* const found = json_at(object, {"metadata", "generation"});
  return found != nullptr && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

bool status_holds(const json& object, const json& wanted) {
  for (const auto& [key, value] : wanted.items()) {
    const json* const found = json_at(object, {"status", key.c_str()});
    if ((found == nullptr || found->is_null()) != value.is_null()) return false;
    if (!value.is_null() && *found != value) return false;
  }
  return true;
}

bool is_told(const json& object, const json& condition) {
  const json* const all = json_at(object, {"status", "conditions"});
  return all != nullptr && all->is_array() && std::ranges::any_of(*all, [&](const json& one) {
           return std::ranges::all_of(
               std::initializer_list<const char*>{"type", "status", "reason", "message"},
               [&](const char* key) {
                 return json_text(one, {key}) == json_text(condition, {key});
               });
         });
}

std::string kube_time(Timestamp time) {
  constexpr std::int64_t kSecond = 1'000'000;
  return format_time(Timestamp{time.us / kSecond * kSecond});
}

std::string reason_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return "Invalid";
    case ErrorCode::not_found:
      return "NotFound";
    case ErrorCode::already_exists:
      return "TargetExists";
    case ErrorCode::permission_denied:
      return "Forbidden";
    case ErrorCode::refused:
      return "Refused";
    case ErrorCode::corruption:
      return "Damaged";
    case ErrorCode::unsupported:
      return "Unsupported";
    case ErrorCode::resource_exhausted:
      return "NoRoom";
    case ErrorCode::unavailable:
    case ErrorCode::deadline_exceeded:
      return "Waiting";
    default:
      return "Failed";
  }
}

kube::Outcome<json> patch_object_status(kube::Client& client, const kube::Resource& resource,
                                        const json& object, json status, const kube::Call& call) {
  kube::WriteOptions options;
  options.subresource = "status";
  const json patch = {{"metadata", {{"uid", kube::uid_of(object)}}}, {"status", std::move(status)}};
  return client.patch(resource, kube::ref_of(object), kube::PatchKind::merge, patch, options, call);
}

}  // namespace tidemark
