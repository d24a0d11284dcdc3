#include "agent/site/source_book.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/site/state_list.h"
#include "base/files.h"
#include "base/log.h"
#include "base/queue.h"

namespace tidemark {
namespace {

using json = nlohmann::json;

constexpr int kVersion = 1;
constexpr const char* kKey = "sources";
constexpr std::uint64_t kBytesMax = 64 * kMiB;
// Whoever holds the lock reads and writes a small file.
constexpr int kLockTries = 200;
constexpr std::chrono::milliseconds kLockStep{50};

std::optional<SourceEntry> entry_of(const json& from) {
  const auto text = [&](const char* key) {
    return from.is_object() && from.contains(key) && from[key].is_string()
               ? from[key].get<std::string>()
               : std::string();
  };
  const auto store = StoreId::from_hex(text("store"));
  SourceEntry entry{text("asset"), store.value_or(StoreId()), text("to")};
  if (!store || entry.asset.empty()) return std::nullopt;
  entry.superseded = from.value("superseded", json()) == true;
  entry.of_claim = from.value("of_claim", json()) == true;
  if (const std::string since = text("unwanted_since"); !since.empty()) {
    const auto time = parse_time(since, {});
    if (!time) return std::nullopt;
    entry.unwanted_since = *time;
  }
  return entry;
}

json json_of(const SourceEntry& entry) {
  json out = {{"asset", entry.asset}, {"store", entry.store.hex()}, {"to", entry.to}};
  if (entry.superseded) out["superseded"] = true;
  if (entry.of_claim) out["of_claim"] = true;
  if (entry.unwanted_since) out["unwanted_since"] = format_time(*entry.unwanted_since);
  return out;
}

}  // namespace

Result<std::vector<SourceEntry>> SourceBook::read() const {
  std::vector<SourceEntry> out;
  const auto items = read_state_list(file_, kKey, kVersion, kBytesMax);
  if (!items && items.error().code() != ErrorCode::corruption) return items.error();
  if (!items) {
    log::warn("{}: snapshots of policies that are gone are not tidied up", items.error().message());
    return out;
  }
  for (const json& item : *items)
    if (auto entry = entry_of(item); entry) out.push_back(*std::move(entry));
  return out;
}

Result<std::vector<SourceEntry>> SourceBook::entries() const { return read(); }

Status SourceBook::change(const std::function<void(std::vector<SourceEntry>&)>& edit) {
  std::error_code failed;
  std::filesystem::create_directories(file_.parent_path(), failed);
  const std::filesystem::path lock_path = file_.string() + ".lock";
  auto lock = lock_file(lock_path);
  for (int i = 0; i < kLockTries && !lock && lock.error().code() == ErrorCode::refused; ++i) {
    sleep_for({}, kLockStep);
    lock = lock_file(lock_path);
  }
  if (!lock) return std::move(lock).error();
  TM_TRY(const auto before, read());
  auto after = before;
  edit(after);
  if (after == before) return {};
  json items = json::array();
  for (const SourceEntry& entry : after) items.push_back(json_of(entry));
  return write_file_durably(file_, as_bytes(format_state_list(kKey, kVersion, std::move(items))));
}

Status SourceBook::note(const std::string& asset, const StoreId& store, const std::string& to,
                        bool of_claim) {
  return change([&](std::vector<SourceEntry>& entries) {
    bool known = false;
    for (SourceEntry& entry : entries) {
      if (entry.asset != asset || entry.to != to) continue;
      const bool same = entry.store == store;
      entry.superseded = !same;
      if (same) entry.unwanted_since.reset();
      if (same) entry.of_claim = of_claim;
      known = known || same;
    }
    if (!known) entries.push_back({.asset = asset, .store = store, .to = to, .of_claim = of_claim});
  });
}

Status SourceBook::update(const std::function<bool(SourceEntry&)>& keep) {
  return change([&](std::vector<SourceEntry>& entries) {
    std::erase_if(entries, [&](SourceEntry& entry) { return !keep(entry); });
  });
}

}  // namespace tidemark
