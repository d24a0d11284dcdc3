#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/cli/command.h"
#include "agent/service/store_service.h"
#include "agent/verify/repair.h"
#include "agent/verify/verify.h"

namespace tidemark {
namespace {

struct VerifyArguments {
  std::string what;       // asset or point; empty: everything
  std::string read_data;  // "100", "5%"
  bool repair = false;
  std::string copy;  // the URL of a store that may hold the same packs; empty: none
};

Result<double> read_share(const std::string& text) {
  if (text.empty()) return 0.0;
  double percent = 0;
  const std::string_view number =
      std::string_view(text).substr(0, text.size() - text.ends_with('%'));
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), percent);
  if (error != std::errc() || end != number.data() + number.size() || percent < 0 || percent > 100)
    return Error(ErrorCode::invalid_argument, "--read-data takes a percentage from 0 to 100");
  return percent / 100;
}

Result<std::vector<PointRow>> choose(Command& command, StoreAccess& access,
                                     const std::string& what) {
  if (what.empty()) return access.store->points("", "");
  if (what.find('/') == std::string::npos) {
    TM_TRY(PointRow row, command.find_point_by_id(access, what));
    return std::vector<PointRow>{std::move(row)};
  }
  TM_TRY(const SiteAsset asset, command.parse_asset(what));
  TM_TRY(auto rows, access.store->points(asset.site, asset.asset.text()));
  if (rows.empty()) return Error(ErrorCode::not_found, "no points of " + what);
  return rows;
}

Result<RepairReport> repair(const Command& command, StoreService* service, const StoreKeys& keys,
                            const std::string& copy_url) {
  if (service == nullptr)
    return Error(ErrorCode::refused,
                 "--repair works on this site's own store while its agent is stopped");
  std::unique_ptr<Backend> copy;
  if (!copy_url.empty()) {
    const Globals& globals = command.globals;
    TM_TRY(const BackendConfig config,
           parse_backend_url(copy_url, globals.ceph_conf, globals.ceph_user));
    TM_TRY(copy, open_backend(config, false));
  }
  return repair_packs(*service, keys, copy.get(), command.stop.get_token());
}

Result<int> run_verify(Command& command, const VerifyArguments& arguments) {
  TM_TRY(const double share, read_share(arguments.read_data));
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const StoreKeys* const keys, access.need_keys());
  TM_TRY(const auto points, choose(command, access, arguments.what));
  VerifyOptions options;
  options.read_share = share;
  options.stop = command.stop.get_token();
  TM_TRY(VerifyReport report, verify_points(*access.store, *keys, points, options));
  auto* const service = dynamic_cast<StoreService*>(access.store.get());
  TM_TRY(const auto records, service != nullptr ? check_records(*service, points, arguments.repair)
                                                : access.store->damaged_records());
  for (const DamagedRecord& record : records)
    report.damaged.push_back({"record", record.id, record.id, "", record.message});
  nlohmann::json damaged = nlohmann::json::array();
  for (const Damage& damage : report.damaged)
    damaged.push_back({{"kind", damage.kind},
                       {"id", damage.id},
                       {"point", damage.point},
                       {"pack", damage.pack},
                       {"message", damage.message}});
  RepairReport repaired;
  if (arguments.repair && !report.damaged.empty()) {
    TM_TRY(repaired, repair(command, service, *keys, arguments.copy));
  }
  if (report.damaged.empty() && share >= 1)
    for (const PointRow& row : points)
      ignore_error(access.store->set_verified(row.point.record.id), "a peer may not record it");
  const nlohmann::json json = {{"points_checked", report.points_checked},
                               {"chunks_checked", report.chunks_checked},
                               {"bytes_read", report.bytes_read},
                               {"damaged", damaged},
                               {"packs_set_aside", repaired.packs_set_aside},
                               {"packs_healed", repaired.packs_healed},
                               {"blobs_saved", repaired.blobs_saved}};
  command.print(json, [&] {
    for (const Damage& damage : report.damaged)
      std::printf("damaged %s %s of point %s: %s\n", damage.kind.c_str(), damage.id.c_str(),
                  damage.point.substr(0, 12).c_str(), damage.message.c_str());
    std::printf("%llu points, %llu chunks and nodes, %s read, %zu damaged\n",
                static_cast<unsigned long long>(report.points_checked),
                static_cast<unsigned long long>(report.chunks_checked),
                format_bytes(report.bytes_read).c_str(), report.damaged.size());
    if (repaired.packs_healed > 0)
      std::printf("%zu packs are whole again, from %s\n", repaired.packs_healed,
                  arguments.copy.c_str());
    if (repaired.packs_set_aside > repaired.packs_healed)
      std::printf(
          "%zu packs set aside, %zu chunks and nodes of them saved; "
          "'tidemark backup --full' of the asset sends the others again\n",
          repaired.packs_set_aside, repaired.blobs_saved);
  });
  return report.damaged.empty() ? kExitDone : kExitDamaged;
}

}  // namespace

void add_verify_command(CLI::App& app, Command& command) {
  auto* verify = app.add_subcommand("verify", "Check structure, then bytes");
  auto arguments = std::make_shared<VerifyArguments>();
  verify->add_option("ASSET_OR_POINT", arguments->what, "everything where left out");
  verify
      ->add_option("--read-data", arguments->read_data,
                   "read this share of the data (default: all)")
      ->expected(0, 1)
      ->default_str("100");
  verify->add_flag(
      "--repair", arguments->repair,
      "save what is whole in damaged packs and set them aside, so that a backup mends the rest");
  verify
      ->add_option("--from", arguments->copy,
                   "URL of a copy of the store: packs that are damaged here are taken from it")
      ->needs("--repair");
  verify->footer("Exit codes: 0 all is well, 6 damage was found.");
  verify->callback([&command, verify, arguments] {
    if (verify->count("--read-data") > 0 && arguments->what.empty() &&
        arguments->read_data.find_first_not_of("0123456789.%") != std::string::npos)
      arguments->what = std::exchange(arguments->read_data, "");  // --read-data ASSET
    if (verify->count("--read-data") > 0 && arguments->read_data.empty())
      arguments->read_data = "100";
    command.action = [&command, arguments] { return run_verify(command, *arguments); };
  });
}

}  // namespace tidemark
