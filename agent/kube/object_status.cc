#include "agent/kube/object_status.h"

#include "agent/kube/claim.h"

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
  out.push_back({{"type", condition.type},
                 {"status", condition.status},
                 {"reason", condition.reason},
                 {"message", condition.message.substr(0, kMessageBytesMax)},
                 {"observedGeneration", generation},
                 {"lastTransitionTime", since}});
  return out;
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
