#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "agent/cli/command.h"
#include "agent/service/store_service.h"
#include "base/files.h"

namespace tidemark {
namespace {

constexpr std::uint64_t kSecretBytesMax = 64 * kKiB;

struct StoreArguments {
  bool unencrypted = false;
  std::string new_key_file, new_passphrase_file, name;
};

// Where a store is to be made or changed: --store, or the configuration's.
struct Place {
  BackendConfig backend;
  SecretRef key, passphrase;
};

SecretRef file_ref(const std::string& path) {
  SecretRef ref;
  if (!path.empty()) ref = {SecretRef::From::file, path, ""};
  return ref;
}

Result<Place> place_of(Command& command) {
  Place place;
  const Globals& globals = command.globals;
  if (!globals.store_url.empty()) {
    TM_TRY(place.backend,
           parse_backend_url(globals.store_url, globals.ceph_conf, globals.ceph_user));
    place.key = file_ref(globals.key_file);
    place.passphrase = file_ref(globals.passphrase_file);
    return place;
  }
  TM_TRY(const Config* const config, command.config());
  if (!config->store)
    return Error(ErrorCode::invalid_argument,
                 config->name + ": site " + config->site + " serves no store");
  place.backend = backend_config(config->store->backend);
  place.key = config->store->key;
  place.passphrase = config->store->passphrase;
  return place;
}

// The key in a file, which is made where it is absent.
Result<SecretKey> key_file_made_if_absent(const std::filesystem::path& path, bool* made) {
  std::error_code ignored;
  *made = !std::filesystem::exists(path, ignored);
  if (*made) {
    const SecretKey fresh = SecretKey::random();
    TM_DO(write_file_durably(path, as_bytes(format_key_file(fresh)), 0600));
  }
  TM_TRY(const std::string text, read_secret(file_ref(path.string())));
  return parse_key_file(text);
}

Result<int> init(Command& command, const StoreArguments& arguments) {
  TM_TRY(const Place place, place_of(command));
  StoreDescriptor descriptor;
  descriptor.id = random_id<StoreId>();
  descriptor.created_us = command.clock.now().us;
  descriptor.encrypted = !arguments.unencrypted;
  bool key_made = false;
  if (descriptor.encrypted) {
    const SecretKey master = SecretKey::random();
    descriptor.key_id = StoreKeys(master).key_id();
    if (place.key.from == SecretRef::From::file) {
      TM_TRY(const SecretKey key, key_file_made_if_absent(place.key.file, &key_made));
      descriptor.slots.push_back(make_key_file_slot(master, key, "key file"));
    }
    if (place.passphrase) {
      TM_TRY(const std::string text, read_secret(place.passphrase));
      TM_TRY(KeySlot slot, make_passphrase_slot(master, text, "passphrase"));
      descriptor.slots.push_back(std::move(slot));
    }
    if (descriptor.slots.empty())
      return Error(ErrorCode::invalid_argument,
                   "an encrypted store needs a key file or a passphrase")
          .with_hint("set store.key_file (it is created), or say --unencrypted");
  }
  TM_TRY(const auto backend, open_backend(place.backend, true));
  TM_TRY(const auto lock, backend->lock_writer("tidemark store init"));
  TM_DO(StoreService::create(*backend, descriptor));
  command.print(
      {{"id", descriptor.id.hex()}, {"url", backend->url()}, {"encrypted", descriptor.encrypted}},
      [&] {
        std::printf("store %s at %s\n", descriptor.id.hex().c_str(), backend->url().c_str());
        if (key_made)
          std::printf(
              "its key is in %s: keep a copy elsewhere. Without the key nothing can be restored.\n",
              place.key.file.c_str());
      });
  return kExitDone;
}

Result<int> status(Command& command) {
  TM_TRY(StoreAccess access, command.open_store());
  TM_TRY(const CatalogStats stats, access.store->stats());
  const double ratio = stats.pack_bytes == 0 ? 0
                                             : static_cast<double>(stats.plain_bytes) /
                                                   static_cast<double>(stats.pack_bytes);
  const nlohmann::json json = {{"id", access.descriptor.id.hex()},
                               {"store", access.name},
                               {"encrypted", access.descriptor.encrypted},
                               {"points", stats.points},
                               {"packs", stats.packs},
                               {"stored_bytes", stats.pack_bytes},
                               {"plain_bytes", stats.plain_bytes},
                               {"chunks", stats.chunks},
                               {"nodes", stats.nodes},
                               {"compression_ratio", ratio}};
  command.print(json, [&] {
    std::printf("store    %s (%s)\n", access.descriptor.id.hex().c_str(), access.name.c_str());
    std::printf("points   %llu\n", static_cast<unsigned long long>(stats.points));
    std::printf("stored   %s in %llu packs\n", format_bytes(stats.pack_bytes).c_str(),
                static_cast<unsigned long long>(stats.packs));
    std::printf("plain    %s in %llu chunks, %.2f : 1\n", format_bytes(stats.plain_bytes).c_str(),
                static_cast<unsigned long long>(stats.chunks), ratio);
  });
  return kExitDone;
}

// A store opened for a change of its key slots: under the writer lock, with the master key.
struct Unlocked {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<WriterLock> lock;
  StoreDescriptor descriptor;
};
Result<Unlocked> open_for_change(const Place& place) {
  Unlocked store;
  TM_TRY(store.backend, open_backend(place.backend, false));
  auto lock = store.backend->lock_writer("tidemark store key");
  if (!lock)
    return std::move(lock).error().with_hint("stop the agent that serves this store first");
  store.lock = *std::move(lock);
  TM_TRY(store.descriptor, StoreService::read_descriptor(*store.backend));
  if (!store.descriptor.encrypted)
    return Error(ErrorCode::refused, "the store is not encrypted: it has no key");
  return store;
}

Result<SecretKey> master_key(const StoreDescriptor& descriptor, const Place& place) {
  if (place.key) {
    TM_TRY(const std::string text, read_secret(place.key));
    TM_TRY(const SecretKey key, parse_key_file(text));
    return open_with_key_file(descriptor, key);
  }
  if (place.passphrase) {
    TM_TRY(const std::string text, read_secret(place.passphrase));
    return open_with_passphrase(descriptor, text);
  }
  return Error(ErrorCode::permission_denied, "the present key is needed")
      .with_hint("give --key-file or --passphrase-file");
}

Result<int> key_list(Command& command) {
  TM_TRY(StoreAccess access, command.open_store());
  nlohmann::json slots = nlohmann::json::array();
  for (const KeySlot& slot : access.descriptor.slots)
    slots.push_back({{"name", slot.name},
                     {"type", slot.type == KeySlot::Type::passphrase ? "passphrase" : "key file"}});
  command.print({{"slots", slots}}, [&] {
    for (const auto& slot : slots)
      std::printf("%-12s %s\n", slot["type"].get<std::string>().c_str(),
                  slot["name"].get<std::string>().c_str());
  });
  return kExitDone;
}

Result<int> key_add(Command& command, const StoreArguments& arguments) {
  if (arguments.new_key_file.empty() == arguments.new_passphrase_file.empty())
    return Error(ErrorCode::invalid_argument,
                 "give one of --new-key-file and --new-passphrase-file");
  TM_TRY(const Place place, place_of(command));
  TM_TRY(Unlocked store, open_for_change(place));
  TM_TRY(const SecretKey master, master_key(store.descriptor, place));
  for (const KeySlot& slot : store.descriptor.slots)
    if (slot.name == arguments.name)
      return Error(ErrorCode::already_exists, "there is a slot named '" + arguments.name + "'");
  if (!arguments.new_key_file.empty()) {
    bool made = false;
    TM_TRY(const SecretKey key, key_file_made_if_absent(arguments.new_key_file, &made));
    store.descriptor.slots.push_back(make_key_file_slot(master, key, arguments.name));
  } else {
    TM_TRY(const std::string text, read_secret(file_ref(arguments.new_passphrase_file)));
    TM_TRY(KeySlot slot, make_passphrase_slot(master, text, arguments.name));
    store.descriptor.slots.push_back(std::move(slot));
  }
  TM_DO(StoreService::write_descriptor(*store.backend, store.descriptor));
  command.print({{"slot", arguments.name}},
                [&] { std::printf("added '%s'\n", arguments.name.c_str()); });
  return kExitDone;
}

Result<int> key_remove(Command& command, const std::string& name) {
  TM_TRY(const Place place, place_of(command));
  TM_TRY(Unlocked store, open_for_change(place));
  TM_TRY(const SecretKey master, master_key(store.descriptor, place));
  static_cast<void>(master);  // only who can open the store may change its slots
  if (std::erase_if(store.descriptor.slots, [&](const KeySlot& s) { return s.name == name; }) == 0)
    return Error(ErrorCode::not_found, "there is no slot named '" + name + "'");
  if (store.descriptor.slots.empty())
    return Error(ErrorCode::refused, "that is the last slot: without it nothing can be restored");
  TM_DO(StoreService::write_descriptor(*store.backend, store.descriptor));
  command.print({{"slot", name}}, [&] { std::printf("removed '%s'\n", name.c_str()); });
  return kExitDone;
}

}  // namespace

void add_store_commands(CLI::App& app, Command& command) {
  auto* store = app.add_subcommand("store", "Create a store, its usage, its key");
  store->require_subcommand(1);
  auto arguments = std::make_shared<StoreArguments>();
  auto* make = store->add_subcommand("init", "Create this site's store and its key");
  make->add_flag("--unencrypted", arguments->unencrypted, "keep data in clear");
  make->callback([&command, arguments] {
    command.action = [&command, arguments] { return init(command, *arguments); };
  });
  store->add_subcommand("status", "Usage and ratios")->callback([&command] {
    command.action = [&command] { return status(command); };
  });
  auto* key = store->add_subcommand("key", "The slots that open the store's key");
  key->require_subcommand(1);
  key->add_subcommand("list", "Show them")->callback([&command] {
    command.action = [&command] { return key_list(command); };
  });
  auto* add = key->add_subcommand("add", "Add a slot");
  add->add_option("--name", arguments->name, "for people")->required();
  add->add_option("--new-key-file", arguments->new_key_file, "created where it is absent");
  add->add_option("--new-passphrase-file", arguments->new_passphrase_file, "a file that holds it");
  add->callback([&command, arguments] {
    command.action = [&command, arguments] { return key_add(command, *arguments); };
  });
  auto* remove = key->add_subcommand("remove", "Remove a slot");
  remove->add_option("NAME", arguments->name)->required();
  remove->callback([&command, arguments] {
    command.action = [&command, arguments] { return key_remove(command, arguments->name); };
  });
}

}  // namespace tidemark
