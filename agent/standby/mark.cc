#include "agent/standby/mark.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tidemark {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::string_view kPrefix = "tidemark-standby.";

}  // namespace

std::string encode(const StandbyMark& mark) {
  return json{{"version", kVersion},
              {"store", mark.store.hex()},
              {"site", mark.site},
              {"asset", mark.asset},
              {"role", mark.primary ? "primary" : "standby"},
              {"token", mark.token},
              {"applying", mark.applying ? json(mark.applying->hex()) : json(nullptr)}}
      .dump();
}

Result<StandbyMark> decode_standby_mark(std::string_view text) {
  const Error bad(ErrorCode::corruption, "the image's standby mark cannot be understood");
  const json from = json::parse(text, nullptr, false);
  if (!from.is_object()) return bad;
  if (from.value("version", json()) != kVersion)
    return Error(ErrorCode::unsupported, "the image's standby mark is of another version");
  const auto word = [&](const char* key) {
    const json value = from.value(key, json());
    return value.is_string() ? value.get<std::string>() : std::string();
  };
  StandbyMark mark;
  const auto store = StoreId::from_hex(word("store"));
  const std::string role = word("role");
  const json token = from.value("token", json());
  if (!store || !token.is_number_unsigned() || (role != "primary" && role != "standby")) return bad;
  mark.store = *store;
  mark.site = word("site");
  mark.asset = word("asset");
  mark.primary = role == "primary";
  mark.token = token.get<std::uint64_t>();
  if (const json applying = from.value("applying", json()); !applying.is_null()) {
    mark.applying = PointId::from_hex(word("applying"));
    if (!mark.applying) return bad;
  }
  if (mark.site.empty() || mark.asset.empty()) return bad;
  return mark;
}

std::string standby_snapshot_name(const PointId& point) {
  return std::string(kPrefix) + point.hex();
}

std::vector<StandbySnapshot> standby_snapshots(const std::vector<SnapshotInfo>& snapshots) {
  std::vector<StandbySnapshot> out;
  for (const SnapshotInfo& info : snapshots) {
    if (!info.user || !info.name.starts_with(kPrefix)) continue;
    if (const auto point = PointId::from_hex(std::string_view(info.name).substr(kPrefix.size())))
      out.push_back({info, *point});
  }
  std::ranges::sort(out, {}, [](const StandbySnapshot& s) { return s.info.id; });
  return out;
}

}  // namespace tidemark
