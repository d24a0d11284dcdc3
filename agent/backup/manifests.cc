#include "agent/backup/manifests.h"

#include <nlohmann/json.hpp>

#include "agent/service/point_json.h"
#include "base/bytes.h"
#include "base/log.h"

namespace tidemark {
namespace {

constexpr const char* kKey = "kubernetes";

}  // namespace

std::string with_manifests(std::string meta, const std::string& manifests) {
  if (manifests.empty()) return meta;
  auto json = nlohmann::json::parse(meta, nullptr, false);
  auto objects = nlohmann::json::parse(manifests, nullptr, false);
  if (!json.is_object() || !objects.is_array() || manifests.size() > kManifestsBytesMax) {
    log::warn("the point goes without the manifests of its claim: {} of them",
              format_bytes(manifests.size()));
    return meta;
  }
  json[kKey] = std::move(objects);
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<nlohmann::json> read_manifests(const PointRecord& record, const StoreKeys& keys) {
  TM_DO(check_record_mac(record, keys));
  TM_TRY(const std::string text, open_meta(record, keys));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return Error(ErrorCode::corruption, "the point's metadata is malformed");
  const auto found = json.find(kKey);
  if (found == json.end() || !found->is_array()) return nlohmann::json::array();
  return *found;
}

}  // namespace tidemark
