#include <nlohmann/json.hpp>

#include "agent/backup/volume_backup.h"
#include "agent/service/point_json.h"
#include "base/json.h"

namespace tidemark {
namespace {

std::uint64_t number_at(const nlohmann::json& json, const char* key) {
  return json.contains(key) && json[key].is_number_unsigned() ? json[key].get<std::uint64_t>() : 0;
}

}  // namespace

CreateImage image_like(const PointRecord& record, const VolumeMeta& meta) {
  // Features that an image can be created with; the rest follow from its state.
  constexpr std::uint64_t kCreatableFeatures = 1 | 2 | 4 | 8 | 16 | 32 | 64;
  CreateImage what;
  what.size_bytes = record.size_bytes;
  what.order = meta.image.order;
  if (meta.image.stripe_count > 1) {
    what.stripe_unit = meta.image.stripe_unit;
    what.stripe_count = meta.image.stripe_count;
  }
  what.features = meta.image.features & kCreatableFeatures;  // a data pool is set by naming it
  what.data_pool = meta.image.data_pool;
  what.metadata = meta.image.metadata;
  // What we say of an image (agent/standby/mark.h) is not true of another one.
  std::erase_if(what.metadata,
                [](const auto& entry) { return entry.first.starts_with("tidemark."); });
  return what;
}

// Values of image-meta may be any bytes; hex keeps them exact.
std::string format_volume_meta(const VolumeMeta& meta) {
  nlohmann::json metadata = nlohmann::json::object();
  for (const auto& [key, value] : meta.image.metadata)
    metadata[to_hex(as_bytes(key))] = to_hex(as_bytes(value));
  const nlohmann::json json = {
      {"cluster", meta.cluster_fsid},
      {"image",
       {{"id", meta.image.id},
        {"order", meta.image.order},
        {"stripe_unit", meta.image.stripe_unit},
        {"stripe_count", meta.image.stripe_count},
        {"features", meta.image.features},
        {"flags", meta.image.flags},
        {"data_pool", meta.image.data_pool},
        {"parent", meta.image.parent},
        {"metadata_hex", metadata}}},
      {"snapshot", {{"id", meta.snapshot_id}, {"name", meta.snapshot_name}}},
  };
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Result<VolumeMeta> parse_volume_meta(std::string_view text) {
  TM_TRY(const auto json, parse_json(text));
  if (!json.is_object() || !json.contains("image") || !json["image"].is_object() ||
      !json.contains("snapshot") || !json["snapshot"].is_object())
    return Error(ErrorCode::corruption, "the point's metadata is malformed");
  const auto &image = json["image"], &snapshot = json["snapshot"];
  VolumeMeta meta;
  meta.cluster_fsid = text_at(json, "cluster");
  meta.image.id = text_at(image, "id");
  meta.image.order = static_cast<unsigned>(number_at(image, "order"));
  meta.image.stripe_unit = number_at(image, "stripe_unit");
  meta.image.stripe_count = number_at(image, "stripe_count");
  meta.image.features = number_at(image, "features");
  meta.image.flags = number_at(image, "flags");
  meta.image.data_pool = text_at(image, "data_pool");
  meta.image.parent = text_at(image, "parent");
  if (image.contains("metadata_hex") && image["metadata_hex"].is_object()) {
    for (const auto& [key, value] : image["metadata_hex"].items()) {
      const auto name = from_hex(key);
      const auto content = value.is_string() ? from_hex(value.get<std::string>()) : std::nullopt;
      if (name && content)
        meta.image.metadata[std::string(as_text(*name))] = std::string(as_text(*content));
    }
  }
  meta.snapshot_id = number_at(snapshot, "id");
  meta.snapshot_name = text_at(snapshot, "name");
  return meta;
}

Result<VolumeMeta> read_volume_meta(const PointRecord& record, const StoreKeys& keys) {
  TM_DO(check_record_mac(record, keys));
  TM_TRY(const std::string json, open_meta(record, keys));
  return parse_volume_meta(json);
}

}  // namespace tidemark
