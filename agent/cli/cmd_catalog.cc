#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/store_service.h"
#include "catalog/catalog.h"
#include "catalog/rebuild.h"

namespace tidemark {
namespace {

Result<const StoreConfig*> own_store(Command& command) {
  TM_TRY(const Config* const config, command.config());
  if (!config->store)
    return Error(ErrorCode::invalid_argument,
                 config->name + ": site " + config->site + " serves no store");
  return &*config->store;
}

// The backend under its writer lock: the agent must not run meanwhile.
struct OwnedBackend {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<WriterLock> lock;
  StoreDescriptor descriptor;
};
Result<OwnedBackend> take_backend(const StoreConfig& store, const char* who) {
  OwnedBackend owned;
  TM_TRY(owned.backend, open_backend(backend_config(store.backend), false));
  auto lock = owned.backend->lock_writer(who);
  if (!lock && lock.error().code() == ErrorCode::refused)
    return std::move(lock).error().with_hint("stop the agent that serves this store first");
  if (!lock) return std::move(lock).error();
  owned.lock = *std::move(lock);
  TM_TRY(owned.descriptor, StoreService::read_descriptor(*owned.backend));
  return owned;
}

Result<int> rebuild(Command& command) {
  TM_TRY(const StoreConfig* const store, own_store(command));
  TM_TRY(const OwnedBackend owned, take_backend(*store, "tidemark catalog rebuild"));
  TM_TRY(const RebuildReport report,
         rebuild_catalog(*owned.backend, store->catalog, owned.descriptor.id, {},
                         command.stop.get_token()));
  command.print(
      {{"points", report.points}, {"packs", report.packs}, {"findings", report.findings}}, [&] {
        for (const auto& finding : report.findings) std::printf("%s\n", finding.c_str());
        std::printf("%llu points, %llu packs\n", static_cast<unsigned long long>(report.points),
                    static_cast<unsigned long long>(report.packs));
      });
  return report.findings.empty() ? kExitDone : kExitDamaged;
}

Result<int> check(Command& command) {
  TM_TRY(const StoreConfig* const store, own_store(command));
  TM_TRY(const OwnedBackend owned, take_backend(*store, "tidemark catalog check"));
  TM_TRY(const auto catalog, Catalog::open(store->catalog, owned.descriptor.id));
  TM_TRY(auto findings, catalog->check());
  const auto journal = catalog->each_journal_entry(1, [](const JournalEntry&) { return Status(); });
  if (!journal) findings.push_back(journal.error().message());
  command.print({{"findings", findings}}, [&] {
    for (const auto& finding : findings) std::printf("%s\n", finding.c_str());
    std::printf("%zu findings\n", findings.size());
  });
  return findings.empty() ? kExitDone : kExitDamaged;
}

}  // namespace

void add_catalog_commands(CLI::App& app, Command& command) {
  auto* catalog = app.add_subcommand("catalog", "The index of this site's store");
  catalog->require_subcommand(1);
  catalog->add_subcommand("rebuild", "Make it anew from the store alone")->callback([&command] {
    command.action = [&command] { return rebuild(command); };
  });
  catalog->add_subcommand("check", "Read and check every row")->callback([&command] {
    command.action = [&command] { return check(command); };
  });
}

}  // namespace tidemark
