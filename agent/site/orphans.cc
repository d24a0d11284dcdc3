#include "agent/site/orphans.h"

#include <algorithm>
#include <set>

#include "agent/backup/source_snapshots.h"
#include "agent/site/asset_lock.h"
#include "base/log.h"

namespace tidemark {
namespace {

// True where nothing of ours for that store is left on the image.
Result<bool> remove_from(const SourceEntry& entry, const Config& config,
                         const std::shared_ptr<CephCluster>& cluster) {
  TM_TRY(const AssetName asset, AssetName::parse(entry.asset));
  if (asset.kind() != AssetName::Kind::rbd) return true;
  auto lock = lock_asset(config, asset, entry.to);
  if (!lock && lock.error().code() == ErrorCode::refused) return false;
  if (!lock) return std::move(lock).error();
  std::vector<std::unique_ptr<RbdImage>> images;
  auto image = RbdImage::open_read_write(cluster, asset.rbd());
  if (image) {
    images.push_back(*std::move(image));
  } else if (image.error().code() != ErrorCode::not_found) {
    return std::move(image).error();
  } else {
    // ceph-csi deletes by way of the trash, where our snapshots would keep it for ever.
    TM_TRY(images, RbdImage::open_trashed(cluster, asset.rbd()));
  }
  bool clean = true;
  for (const auto& one : images) {
    remove_our_snapshots(*one, entry.store, {});
    TM_TRY(const auto left, one->snapshots());
    clean = clean && our_snapshots(left, entry.store).empty();
  }
  return clean;
}

}  // namespace

Result<OrphanSweep> sweep_orphans(
    SourceBook& book, const Config& config, Clock& clock,
    const std::function<std::optional<bool>(const std::string& asset, const std::string& to)>&
        wanted,
    const std::function<bool(const std::string& asset)>& claim_gone,
    const std::function<Result<std::shared_ptr<CephCluster>>()>& cluster) {
  using Place = std::pair<std::string, StoreId>;
  OrphanSweep sweep;
  TM_TRY(const auto entries, book.entries());
  // A store may have had two names: what one of them needs is needed.
  std::set<Place> needed, unknown, at_once;
  for (const SourceEntry& entry : entries) {
    const std::optional<bool> use = entry.superseded ? false : wanted(entry.asset, entry.to);
    if (use.value_or(false)) needed.emplace(entry.asset, entry.store);
    if (!use) unknown.emplace(entry.asset, entry.store);
    // Asked before the book is locked: the answer may take a while.
    if (use == false && entry.of_claim && claim_gone(entry.asset))
      at_once.emplace(entry.asset, entry.store);
  }
  const Timestamp now = clock.now();
  std::vector<SourceEntry> over;
  TM_DO(book.update([&](SourceEntry& entry) {
    const Place place(entry.asset, entry.store);
    if (needed.contains(place)) {
      entry.unwanted_since.reset();
      return true;
    }
    if (unknown.contains(place)) return true;
    // Of a time that is to come, the wait begins now.
    if (!entry.unwanted_since || *entry.unwanted_since > now) entry.unwanted_since = now;
    ++sweep.unwanted;
    const bool due =
        at_once.contains(place) || now - *entry.unwanted_since >= config.snapshots.orphans_after;
    if (due) over.push_back(entry);
    return true;
  }));
  if (over.empty()) return sweep;
  TM_TRY(const auto connected, cluster());
  for (const SourceEntry& entry : over) {
    const auto gone = remove_from(entry, config, connected);
    if (!gone) {
      log::warn("{}: snapshots for store {} are not removed: {}", entry.asset, entry.to,
                gone.error().message());
      continue;
    }
    if (!*gone) continue;
    log::info("{}: no policy sends it to store {} any more; our snapshots for it are gone",
              entry.asset, entry.to);
    ++sweep.removed;
    --sweep.unwanted;
    TM_DO(book.update([&](const SourceEntry& other) {
      return other.asset != entry.asset || other.store != entry.store;
    }));
  }
  return sweep;
}

}  // namespace tidemark
