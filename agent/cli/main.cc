#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "agent/cli/command.h"
#include "agent/service/point_json.h"

namespace tidemark {
namespace {

// Signals are taken by one thread that waits for them; all others, those of libraries included,
// have them blocked from their birth. The first asks to stop, the second ends at once.
void wait_for_signals(sigset_t signals, std::stop_source stop, ReloadRequests reloads) {
  for (int count = 0;;) {
    int signal = 0;
    if (::sigwait(&signals, &signal) != 0) return;
    if (signal == SIGHUP) {
      ++*reloads;
      continue;
    }
    if (count++ > 0) ::_exit(kExitInterrupted);
    stop.request_stop();
  }
}

void block_signals(const std::stop_source& stop, const ReloadRequests& reloads) {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  std::thread(wait_for_signals, signals, stop, reloads).detach();
}

void add_globals(CLI::App& app, Command& command) {
  Globals& globals = command.globals;
  globals.config_path = "/etc/tidemark/tidemark.yaml";
  app.add_option("--config", globals.config_path, "the configuration file")
      ->envname("TIDEMARK_CONFIG");
  app.add_flag("--json", globals.json, "results as JSON on stdout");
  app.add_flag("--quiet", globals.quiet, "no progress");
  app.add_flag("--no-color", globals.no_color, "no colours");
  app.add_option("--log-level", globals.log_level, "debug, info, warn, error or off");
  app.add_option("--store", globals.store_url,
                 "instead of a configuration: file:PATH or rados:POOL[/NAMESPACE], read-only");
  app.add_option("--key-file", globals.key_file, "with --store: its key");
  app.add_option("--passphrase-file", globals.passphrase_file,
                 "with --store: a file with its passphrase");
  app.add_option("--ceph-conf", globals.ceph_conf, "with --store: the cluster to restore to");
  app.add_option("--ceph-user", globals.ceph_user, "with --ceph-conf")->default_str("admin");
  app.add_option("--peer", globals.peer, "the store of this peer");
}

int report(const Error& error, const Globals& globals) {
  if (globals.json) {
    std::fprintf(
        stderr, "%s\n",
        error_json(error).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    print_error(error);
  }
  return exit_code_of(error);
}

int run(int argc, char** argv) {
  Command command;
  command.globals.ceph_user = "admin";
  CLI::App app("Tidemark: protects Ceph block volumes and buckets of one site in another",
               "tidemark");
  app.require_subcommand(1);
  app.fallthrough();
  add_globals(app, command);
  add_agent_command(app, command);
  add_pki_commands(app, command);
  add_store_commands(app, command);
  add_retention_commands(app, command);
  add_gc_command(app, command);
  add_backup_command(app, command);
  add_standby_commands(app, command);
  add_status_command(app, command);
  add_drill_commands(app, command);
  add_events_command(app, command);
  add_points_commands(app, command);
  add_restore_command(app, command);
  add_serve_command(app, command);
  add_verify_command(app, command);
  add_catalog_commands(app, command);
  add_claims_command(app, command);
  add_config_commands(app, command);
  add_completion_command(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitDone : kExitUsage;
  }
  log::set_level(log::Level::warn);
  if (!command.globals.log_level.empty()) {
    const auto level = log::parse_level(command.globals.log_level);
    if (!level) return report(level.error(), command.globals);
    log::set_level(*level);
  }
  block_signals(command.stop, command.reloads);
  const auto result = command.action();
  return result ? *result : report(result.error(), command.globals);
}

}  // namespace
}  // namespace tidemark

int main(int argc, char** argv) {
  // Buffers of some MiB come and go all the time: kept in the heap they need no page faults, and
  // few arenas keep the heap small.
  ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_ARENA_MAX, 4);
  return tidemark::run(argc, argv);
}
