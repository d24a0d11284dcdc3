#include "snapshot/bucket/listing.h"

#include <algorithm>

namespace tidemark {
namespace {

// A key with more versions than this would not fit into memory.
constexpr std::size_t kVersionsPerKeyMax = 200'000;

Status check(const ObjectEntry& entry) {
  const ObjectPlace& place = entry.place;
  if (place.key.empty() || place.key.size() > kObjectKeyBytesMax ||
      place.version_id.size() > kVersionIdBytesMax)
    return Error(ErrorCode::corruption, "the server lists an impossible name");
  return {};
}

}  // namespace

// A key without versions is the first that begins with itself.
KeyListing::KeyListing(const ListingScope& scope, const std::string& only)
    : KeyListing(list_in_turn(scope, only, "", scope.versions ? 1000 : 1), only) {}

Status KeyListing::fill() {
  at_ = 0;
  TM_TRY(page_, pages_->next_page());
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
