#include <array>
#include <nlohmann/json.hpp>

#include "agent/backup/manifests.h"
#include "agent/backup/volume_backup.h"
#include "agent/cli/command.h"
#include "agent/kube/claim_points.h"
#include "agent/read/bucket_diff.h"
#include "agent/read/volume_reader.h"
#include "agent/service/point_json.h"
#include "agent/site/set_run.h"
#include "base/text.h"

namespace tidemark {
namespace {

void print_points(const std::vector<PointRow>& rows) {
  std::vector<std::vector<std::string>> table = {
      {"ID", "ASSET", "TIME", "SIZE", "CHANGED", "SHIPPED", "PINNED"}};
  for (const PointRow& row : rows) {
    const PointRecord& record = row.point.record;
    table.push_back({record.id.hex().substr(0, 12), record.site + ":" + record.asset,
                     shown_time(record.time), format_bytes(record.size_bytes),
                     format_bytes(record.changed_bytes), format_bytes(record.shipped_bytes),
                     row.pinned ? "yes" : ""});
  }
  print_table(table);
}

// Of an asset, of a claim, or all.
Result<std::vector<PointRow>> points_named(Command& command, StoreAccess& access,
                                           const std::string& text) {
  if (!is_site_claim(text)) {
    TM_TRY(const auto filter, command.parse_filter(text));
    return access.store->points(filter.first, filter.second);
  }
  TM_TRY(const SiteClaim claim, parse_site_claim(text));
  TM_TRY(auto rows, access.store->points(claim.site, ""));
  std::erase_if(rows, [&](const PointRow& row) { return !is_of_claim(row.point.record, claim); });
  return rows;
}

Result<int> list_points(Command& command, const std::string& asset_text) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const auto rows, points_named(command, access, asset_text));
  const auto damaged = access.store->damaged_records();
  for (const DamagedRecord& record : damaged)
    std::fprintf(stderr, "tidemark: point %s is left out: %s\n", record.id.c_str(),
                 record.message.c_str());
  if (rows.empty() && !asset_text.empty() && damaged.empty())
    return Error(ErrorCode::not_found, access.name + " has no points of " + asset_text);
  nlohmann::json points = nlohmann::json::array();
  for (const PointRow& row : rows) points.push_back(point_json(row));
  command.print({{"points", std::move(points)}}, [&] { print_points(rows); });
  return damaged.empty() ? kExitDone : kExitDamaged;
}

nlohmann::json bucket_json(const BucketMeta& meta) {
  nlohmann::json documents = nlohmann::json::array();
  for (const auto& [which, document] : meta.documents) documents.push_back(document_name(which));
  return {{"name", meta.name},
          {"versioning", versioning_name(meta.versioning)},
          {"owner", meta.owner},
          {"documents", documents},
          {"keys_unsettled", meta.unsettled.count},
          {"unsettled", unsettled_json(meta.unsettled)}};
}

Result<int> show_point(Command& command, const std::string& id) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const PointRow row, command.find_point_by_id(access, id));
  nlohmann::json json = point_json(row);
  if (!row.point.record.set.empty()) {
    TM_TRY(const auto rows, access.store->points(row.point.record.site, ""));
    for (const SetView& set : sets_of(rows))
      if (set.id == row.point.record.set) json["set_complete"] = set.complete();
  }
  if (access.keys && row.point.record.kind == PointKind::bucket) {
    TM_TRY(const BucketMeta meta, read_bucket_meta(row.point.record, *access.keys));
    json["bucket"] = bucket_json(meta);
  } else if (access.keys) {
    TM_TRY(const VolumeMeta meta, read_volume_meta(row.point.record, *access.keys));
    json["image"] = {{"cluster", meta.cluster_fsid},
                     {"id", meta.image.id},
                     {"order", meta.image.order},
                     {"features", meta.image.features},
                     {"data_pool", meta.image.data_pool},
                     {"parent", meta.image.parent},
                     {"stripe_unit", meta.image.stripe_unit},
                     {"stripe_count", meta.image.stripe_count},
                     {"metadata", meta.image.metadata},
                     {"snapshot", meta.snapshot_name}};
  }
  command.print(json, [&] {
    for (const auto& [key, value] : json.items())
      std::printf(
          "%-14s %s\n", key.c_str(),
          value.is_string()
              ? value.get<std::string>().c_str()
              : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  });
  return kExitDone;
}

// What `kubectl apply` takes.
Result<int> show_manifests(Command& command, const std::string& id) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const PointRow row, command.find_point_by_id(access, id));
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(nlohmann::json objects, read_manifests(row.point.record, *keys));
  const nlohmann::json list = {
      {"apiVersion", "v1"}, {"kind", "List"}, {"items", std::move(objects)}};
  std::printf("%s\n", list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return kExitDone;
}

enum class Administer { pin, unpin, remove, undelete };

Result<int> administer_point(Command& command, const std::string& id, Administer what) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const PointRow row, command.find_point_by_id(access, id));
  const PointId& point = row.point.record.id;
  switch (what) {
    case Administer::pin:
      TM_DO(access.store->set_pinned(point, true));
      break;
    case Administer::unpin:
      TM_DO(access.store->set_pinned(point, false));
      break;
    case Administer::remove:
      TM_DO(access.store->remove(point));
      break;
    case Administer::undelete:
      TM_DO(access.store->undelete(point));
      break;
  }
  command.print({{"id", point.hex()}}, [&] {
    const char* done = what == Administer::pin      ? "pinned"
                       : what == Administer::unpin  ? "unpinned"
                       : what == Administer::remove ? "deleted"
                                                    : "took back";
    std::printf("%s %s\n", done, point.hex().c_str());
  });
  return kExitDone;
}

// Keys are printed as they are found: there may be millions.
Result<int> diff_bucket_points(Command& command, BucketPoint& from, BucketPoint& to) {
  std::array<std::uint64_t, 3> counts{};
  const char* separator = "";
  if (command.globals.json)
    std::printf("{\"from\":\"%s\",\"to\":\"%s\",\"keys\":[",
                from.row().point.record.id.hex().c_str(), to.row().point.record.id.hex().c_str());
  TM_DO(diff_buckets(from, to, [&](const KeyChange& change) -> Status {
    if (command.stop.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    ++counts[static_cast<std::size_t>(change.kind)];
    const std::string kind(to_string(change.kind));
    if (!command.globals.json) {
      std::printf("%-8s %s\n", kind.c_str(), printable_key(change.key).c_str());
      return {};
    }
    nlohmann::json json = {{"change", kind},
                           {"from_bytes", change.from_bytes},
                           {"to_bytes", change.to_bytes},
                           {"entries", change.entries}};
    put_object_key(json, change.key);
    std::printf("%s\n%s", separator, json.dump().c_str());
    separator = ",";
    return {};
  }));
  std::printf(command.globals.json ? "],\n\"added\":%llu,\"changed\":%llu,\"removed\":%llu}\n"
                                   : "%llu added, %llu changed, %llu removed\n",
              static_cast<unsigned long long>(counts[0]),
              static_cast<unsigned long long>(counts[1]),
              static_cast<unsigned long long>(counts[2]));
  return kExitDone;
}

Result<int> diff_points(Command& command, const std::string& a_text, const std::string& b_text) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(const PointRow a, command.find_point_by_id(access, a_text));
  TM_TRY(const PointRow b, command.find_point_by_id(access, b_text));
  for (const PointRow* row : {&a, &b}) TM_DO(check_record_mac(row->point.record, *keys));
  if (a.point.record.kind != b.point.record.kind)
    return Error(ErrorCode::invalid_argument, "one point is of a volume, the other of a bucket");
  if (a.point.record.kind == PointKind::bucket) {
    TM_TRY(const auto from, BucketPoint::open(*access.store, *keys, a));
    TM_TRY(const auto to, BucketPoint::open(*access.store, *keys, b));
    return diff_bucket_points(command, *from, *to);
  }
  BlobReader reader(*access.store, *keys);
  TreeNodes nodes(reader);
  TM_TRY(const auto work, plan_difference(nodes, a.point.record.root, b.point.record.root));
  nlohmann::json ranges = nlohmann::json::array();
  std::uint64_t bytes = 0;
  for (const RegionWork& item : work) {
    for (const RegionRun& run : item.runs) {
      bytes += run.size;
      ranges.push_back({{"offset", item.region * kRegionBytes + run.offset}, {"bytes", run.size}});
    }
  }
  const nlohmann::json json = {{"from", a.point.record.id.hex()},
                               {"to", b.point.record.id.hex()},
                               {"from_size_bytes", a.point.record.size_bytes},
                               {"to_size_bytes", b.point.record.size_bytes},
                               {"differing_bytes", bytes},
                               {"ranges", ranges}};
  command.print(json, [&] {
    for (const auto& range : ranges)
      std::printf("%-16llu %llu\n",
                  static_cast<unsigned long long>(range["offset"].get<std::uint64_t>()),
                  static_cast<unsigned long long>(range["bytes"].get<std::uint64_t>()));
    std::printf("%zu ranges, %s\n", ranges.size(), format_bytes(bytes).c_str());
  });
  return kExitDone;
}

}  // namespace

void add_points_commands(CLI::App& app, Command& command) {
  auto* points = app.add_subcommand("points", "List, inspect, hold and drop recovery points");
  auto asset = std::make_shared<std::string>();
  auto id = std::make_shared<std::string>();
  points->add_option("ASSET", *asset, "[<site>:]<asset>");
  points->callback([&command, points, asset] {
    if (!points->get_subcommands().empty()) return;
    command.action = [&command, asset] { return list_points(command, *asset); };
  });
  auto* show = points->add_subcommand("show", "Everything that is known of one point");
  show->add_option("POINT", *id, "id, or its first digits")->required();
  auto manifests = std::make_shared<bool>(false);
  show->add_flag("--manifests", *manifests,
                 "only the objects of Kubernetes that it carries, as a List that kubectl takes");
  show->callback([&command, id, manifests] {
    command.action = [&command, id, manifests] {
      return *manifests ? show_manifests(command, *id) : show_point(command, *id);
    };
  });
  const auto add = [&](const char* name, const char* help, Administer what) {
    auto* sub = points->add_subcommand(name, help);
    sub->add_option("POINT", *id, "id, or its first digits")->required();
    sub->callback([&command, id, what] {
      command.action = [&command, id, what] { return administer_point(command, *id, what); };
    });
  };
  add("pin", "Hold a point: nothing deletes it", Administer::pin);
  add("unpin", "Let go of a point", Administer::unpin);
  add("delete", "Drop a point", Administer::remove);
  add("undelete", "Take a deletion back, until its grace is over", Administer::undelete);

  auto* diff = app.add_subcommand("diff", "What differs between two points");
  auto other = std::make_shared<std::string>();
  diff->add_option("POINT", *id, "the older point")->required();
  diff->add_option("OTHER", *other, "the newer point")->required();
  diff->callback([&command, id, other] {
    command.action = [&command, id, other] { return diff_points(command, *id, *other); };
  });
}

}  // namespace tidemark
