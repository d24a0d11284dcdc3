#include "agent/backup/key_entries.h"

#include <algorithm>
#include <map>

namespace tidemark {
namespace {

// The first versioning of a bucket gives what it holds the id "null".
bool same_id(const ObjectEntry& old, const ObjectEntry& listed) {
  const std::string& before = old.place.version_id;
  const std::string& now = listed.place.version_id;
  return before == now || (before.empty() && now == "null");
}

}  // namespace

const ObjectEntry* find_same(const std::vector<ObjectEntry>& old, const ObjectEntry& listed) {
  for (const ObjectEntry& entry : old) {
    if (!same_id(entry, listed)) continue;
    ObjectEntry moved;
    moved.place = listed.place;
    moved.place.modified = entry.place.modified;
    moved.delete_marker = entry.delete_marker;
    moved.etag = entry.etag;
    moved.size_bytes = entry.size_bytes;
    if (listed.listed_alike(moved)) return &entry;
  }
  return nullptr;
}

ObjectEntry moved_to(ObjectEntry entry, const ObjectEntry& listed) {
  entry.place = listed.place;
  entry.latest = listed.latest;
  return entry;
}

void keep_older(const std::vector<ObjectEntry>& old, const ObjectEntry& listed,
                std::vector<ObjectEntry>& now) {
  const auto same =
      std::ranges::find_if(old, [&](const ObjectEntry& entry) { return same_id(entry, listed); });
  if (same == old.end()) return;
  ObjectEntry kept = *same;
  kept.place.version_id = listed.place.version_id;
  kept.latest = listed.latest;
  now.push_back(std::move(kept));
}

void choose_latest(std::vector<ObjectEntry>& now) {
  if (now.empty() || std::ranges::any_of(now, &ObjectEntry::latest)) return;
  const auto newer = [](const ObjectEntry& a, const ObjectEntry& b) {
    return object_tree_key(a.place) < object_tree_key(b.place);
  };
  std::ranges::min_element(now, newer)->latest = true;
}

std::vector<TreeChange> changes_of(const std::vector<ObjectEntry>& old,
                                   const std::vector<ObjectEntry>& now) {
  std::map<std::string, std::optional<TreeEntry>> before, after;
  for (const ObjectEntry& entry : old) {
    TreeEntry coded = encode_object(entry);
    after[coded.key];
    before[coded.key] = std::move(coded);
  }
  for (const ObjectEntry& entry : now) {
    TreeEntry coded = encode_object(entry);
    after[coded.key] = std::move(coded);
  }
  std::vector<TreeChange> changes;
  for (auto& [key, entry] : after)
    if (before[key] != entry) changes.push_back({key, std::move(entry)});
  return changes;
}

}  // namespace tidemark
