// What all commands share: global options, results as JSON or text, exit codes.
//
// Exit codes are part of the contract: 0 done; 1 failed; 2 wrong usage or configuration; 3 done in
// part; 4 not found; 5 refused; 6 damaged data found; 130 interrupted.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <stop_token>
#include <string>

#include "agent/site/access.h"
#include "agent/site/daemon.h"
#include "base/clock.h"
#include "config/config.h"

namespace tidemark {

inline constexpr int kExitDone = 0, kExitFailed = 1, kExitUsage = 2, kExitPartial = 3,
                     kExitNotFound = 4, kExitRefused = 5, kExitDamaged = 6, kExitInterrupted = 130;

int exit_code_of(const Error& error);

struct Globals {
  std::string config_path;
  bool json = false, quiet = false, no_color = false;
  std::string log_level;
  // Instead of a configuration: a store read with nothing but its key.
  std::string store_url, key_file, passphrase_file, ceph_conf, ceph_user, peer;
};

class Command {
 public:
  Globals globals;
  std::stop_source stop;
  ReloadRequests reloads = std::make_shared<std::atomic<unsigned>>(0);
  Clock& clock = Clock::system();
  // Set by the chosen subcommand; its result is the exit code.
  std::function<Result<int>()> action;

  // The configuration, read once.
  Result<const Config*> config();
  // The store that a reading command works on: --store, --peer, this site's own, or the only peer.
  Result<StoreAccess> open_store();
  // This site's name; empty where there is no configuration (--store).
  Result<std::string> own_site();
  // A cluster by --ceph-conf, or by the configuration.
  Result<std::shared_ptr<CephCluster>> connect_cluster();
  // The point that is meant: by id, by time, by its set (an id, how one begins, or "latest" for the
  // newest complete one), or the newest of an asset ("latest").
  Result<PointRow> find_point(StoreAccess& access, const std::string& asset, const std::string& id,
                              const std::string& as_of, const std::string& set = {});
  // A point given as an id or a prefix of one.
  Result<PointRow> find_point_by_id(StoreAccess& access, const std::string& id);
  // `[<site>:]<asset>`, with this site's name where none is written.
  Result<SiteAsset> parse_asset(const std::string& text);
  // The same, also of a claim ("k8s/<namespace>/pvc/<name>"): the asset that is behind it, or was
  // as of a time.
  Result<SiteAsset> find_asset(StoreAccess& access, const std::string& text,
                               const std::string& as_of);
  // Of a list: the site and the asset in `[<site>:]<asset>`; two empty texts for an empty one.
  // Without a written site all sites' assets of that name are meant.
  Result<std::pair<std::string, std::string>> parse_filter(const std::string& text);

  // Prints a result: as JSON where asked for, else by `text`.
  void print(const nlohmann::json& json, const std::function<void()>& text) const;

 private:
  std::optional<Config> config_;
};

// Each adds its subcommands.
void add_agent_command(CLI::App& app, Command& command);
void add_backup_command(CLI::App& app, Command& command);
void add_catalog_commands(CLI::App& app, Command& command);
void add_claims_command(CLI::App& app, Command& command);
void add_config_commands(CLI::App& app, Command& command);
void add_drill_commands(CLI::App& app, Command& command);
void add_events_command(CLI::App& app, Command& command);
void add_gc_command(CLI::App& app, Command& command);
void add_pki_commands(CLI::App& app, Command& command);
void add_points_commands(CLI::App& app, Command& command);
void add_restore_command(CLI::App& app, Command& command);
void add_retention_commands(CLI::App& app, Command& command);
void add_serve_command(CLI::App& app, Command& command);
void add_standby_commands(CLI::App& app, Command& command);
void add_status_command(CLI::App& app, Command& command);
void add_store_commands(CLI::App& app, Command& command);
void add_verify_command(CLI::App& app, Command& command);
void add_completion_command(CLI::App& app, Command& command);

// A time as tables show it: to the second.
std::string shown_time(Timestamp t);
// An error and its hint, for people, on stderr.
void print_error(const Error& error);
// Left-aligned columns under a heading, on stdout.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace tidemark
