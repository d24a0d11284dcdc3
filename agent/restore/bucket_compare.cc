#include "agent/restore/bucket_compare.h"

#include <algorithm>

namespace tidemark {
namespace {

constexpr std::size_t kMd5HexDigits = 32;

bool is_md5(const std::string& etag) {
  return etag.size() == kMd5HexDigits &&
         etag.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool same_version(const ObjectEntry& entry, const TargetVersion& version) {
  if (entry.delete_marker || version.marker) return entry.delete_marker && version.marker;
  return entry.size_bytes == version.size && entry.etag == version.etag && !entry.etag.empty();
}

s3::ListedVersion as_version(s3::ListedObject object) {
  s3::ListedVersion version;
  version.key = std::move(object.key);
  version.etag = std::move(object.etag);
  version.size = object.size;
  return version;
}

// How many of the newest in the bucket are the oldest of the point, in the same order.
std::size_t overlap(const std::vector<ObjectEntry>& wanted,
                    const std::vector<TargetVersion>& have) {
  for (std::size_t count = std::min(wanted.size(), have.size()); count > 0; --count) {
    const auto oldest = wanted.end() - static_cast<std::ptrdiff_t>(count);
    if (std::equal(oldest, wanted.end(), have.begin(), same_version)) return count;
  }
  return 0;
}

}  // namespace

TargetKeys::TargetKeys(s3::Client& client, const std::string& bucket,
                       const BucketSelection& selection, bool versions, const s3::Call& call)
    : selection_(selection) {
  const std::string prefix = selection.one_key() ? selection.key : selection.prefix;
  if (versions) {
    versions_ = client.list_versions(bucket, prefix, {}, call);
  } else {
    s3::ListOptions options;
    options.prefix = prefix;
    if (selection.one_key()) options.page_size = 1;
    objects_ = client.list_objects(bucket, options, call);
  }
}

// False at the end.
Result<bool> TargetKeys::fill() {
  if (at_ < page_.size()) return true;
  at_ = 0;
  page_.clear();
  if (versions_) {
    TM_TRY(page_, versions_->next_page());
  } else if (objects_) {
    TM_TRY(auto objects, objects_->next_page());
    for (s3::ListedObject& object : objects) page_.push_back(as_version(std::move(object)));
  }
  return !page_.empty();
}

Result<std::optional<TargetKey>> TargetKeys::next() {
  TargetKey key;
  for (;;) {
    TM_TRY(const bool more, fill());
    if (!more) break;
    s3::ListedVersion& version = page_[at_];
    if (selection_.one_key() && version.key != selection_.key) break;
    if (!key.versions.empty() && version.key != key.key) break;
    key.key = version.key;
    key.versions.push_back(
        {version.version_id, version.etag, version.size, version.is_delete_marker});
    ++at_;
  }
  if (key.versions.empty()) return std::optional<TargetKey>();
  return std::optional(std::move(key));
}

KeyWork compare_current(const KeyVersions* wanted, const TargetKey* have) {
  KeyWork work;
  work.key = wanted != nullptr ? wanted->key : have->key;
  const ObjectEntry* const entry = wanted != nullptr ? wanted->current() : nullptr;
  if (entry == nullptr) {
    if (have != nullptr) work.extra = have->versions;
    return work;
  }
  if (have != nullptr) {
    const TargetVersion& there = have->versions.front();
    if (same_version(*entry, there)) {
      work.same = 1;
      work.same_bytes = entry->size_bytes;
      return work;
    }
    work.exists = true;
    work.replaced_bytes = there.size;
    work.compare = entry->size_bytes == there.size && !(is_md5(entry->etag) && is_md5(there.etag));
  }
  work.write.push_back(*entry);
  return work;
}

KeyWork compare_versions(const KeyVersions* wanted, const TargetKey* have) {
  KeyWork work;
  work.key = wanted != nullptr ? wanted->key : have->key;
  static const std::vector<TargetVersion> kNone;
  const auto& there = have != nullptr ? have->versions : kNone;
  if (!there.empty()) work.newest = there.front().version_id;
  std::size_t same = 0;
  if (wanted != nullptr) {
    same = overlap(wanted->versions, there);
    const std::size_t missing = wanted->versions.size() - same;
    for (std::size_t i = missing; i-- > 0;) work.write.push_back(wanted->versions[i]);
    for (std::size_t i = missing; i < wanted->versions.size(); ++i)
      work.same_bytes += wanted->versions[i].size_bytes;
  }
  work.same = same;
  work.extra.assign(there.begin() + static_cast<std::ptrdiff_t>(same), there.end());
  return work;
}

Status compare_keys(KeyCursor& point, TargetKeys& target, bool versions,
                    const std::function<Status(KeyWork)>& each) {
  TM_TRY(auto wanted, point.next());
  TM_TRY(auto have, target.next());
  while (wanted || have) {
    const bool take_wanted = wanted && (!have || wanted->key <= have->key);
    const bool take_have = have && (!wanted || have->key <= wanted->key);
    const KeyVersions* const a = take_wanted ? &*wanted : nullptr;
    const TargetKey* const b = take_have ? &*have : nullptr;
    TM_DO(each(versions ? compare_versions(a, b) : compare_current(a, b)));
    if (take_wanted) {
      TM_TRY(wanted, point.next());
    }
    if (take_have) {
      TM_TRY(have, target.next());
    }
  }
  return {};
}

}  // namespace tidemark
