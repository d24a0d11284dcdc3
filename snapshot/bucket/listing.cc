#include "snapshot/bucket/listing.h"

#include <algorithm>

namespace tidemark {
namespace {

// A key with more versions than this would not fit into memory.
constexpr std::size_t kVersionsPerKeyMax = 200'000;

ObjectEntry entry_of(const s3::ListedObject& listed) {
  ObjectEntry entry;
  entry.place = {listed.key, listed.last_modified, 0, {}};
  entry.latest = true;
  entry.size_bytes = listed.size;
  entry.etag = listed.etag;
  return entry;
}

ObjectEntry entry_of(const s3::ListedVersion& listed) {
  ObjectEntry entry;
  const std::string id = listed.version_id.empty() ? "null" : listed.version_id;
  entry.place = {listed.key, listed.last_modified, 0, id};
  entry.latest = listed.is_latest;
  entry.delete_marker = listed.is_delete_marker;
  if (!entry.delete_marker) {
    entry.size_bytes = listed.size;
    entry.etag = listed.etag;
  }
  return entry;
}

Status check(const ObjectEntry& entry) {
  const ObjectPlace& place = entry.place;
  if (place.key.empty() || place.key.size() > kObjectKeyBytesMax ||
      place.version_id.size() > kVersionIdBytesMax)
    return Error(ErrorCode::corruption, "the server lists an impossible name");
  return {};
}

}  // namespace

KeyListing::KeyListing(const s3::Client& client, const std::string& bucket, bool versions,
                       std::stop_token stop, const std::string& only)
    : only_(only) {
  s3::Call call;
  call.stop = std::move(stop);
  if (versions) {
    versions_ = client.list_versions(bucket, only, {}, std::move(call));
  } else {
    s3::ListOptions options;
    options.prefix = only;
    if (!only.empty()) options.page_size = 1;
    objects_ = client.list_objects(bucket, std::move(options), std::move(call));
  }
}

Status KeyListing::fill() {
  page_.clear();
  at_ = 0;
  if (versions_) {
    TM_TRY(const auto page, versions_->next_page());
    for (const s3::ListedVersion& listed : page) page_.push_back(entry_of(listed));
  } else {
    TM_TRY(const auto page, objects_->next_page());
    for (const s3::ListedObject& listed : page) page_.push_back(entry_of(listed));
  }
  for (const ObjectEntry& entry : page_) TM_DO(check(entry));
  ended_ = page_.empty();
  return {};
}

Result<const ObjectEntry*> KeyListing::peek() {
  if (at_ == page_.size() && !ended_) TM_DO(fill());
  if (ended_) return nullptr;
  const ObjectEntry* const entry = &page_[at_];
  // Keys that continue it come behind it.
  if (!only_.empty() && entry->place.key != only_) return nullptr;
  return entry;
}

Result<std::optional<ListedKey>> KeyListing::next() {
  TM_TRY(const ObjectEntry* entry, peek());
  if (entry == nullptr) return std::optional<ListedKey>();
  ListedKey out;
  out.key = entry->place.key;
  while (entry != nullptr && entry->place.key == out.key) {
    if (out.versions.size() == kVersionsPerKeyMax)
      return Error(ErrorCode::unsupported, "'" + out.key + "' has too many versions");
    out.versions.push_back(std::move(page_[at_++]));
    TM_TRY(entry, peek());
  }
  const auto newer = [](const ObjectEntry& a, const ObjectEntry& b) {
    return a.place.modified > b.place.modified;
  };
  out.reordered = !std::is_sorted(out.versions.begin(), out.versions.end(), newer);
  if (out.reordered) std::stable_sort(out.versions.begin(), out.versions.end(), newer);
  for (std::size_t i = 1; i < out.versions.size(); ++i)
    if (out.versions[i].place.modified == out.versions[i - 1].place.modified)
      out.versions[i].place.rank = out.versions[i - 1].place.rank + 1;
  return std::optional(std::move(out));
}

}  // namespace tidemark
