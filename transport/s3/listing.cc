// Listings of objects, versions and folders.
#include <algorithm>
#include <functional>
#include <unordered_set>

#include "transport/s3/names.h"
#include "transport/s3/xml.h"

namespace tidemark::s3 {
namespace {

constexpr unsigned kPageSizeMax = 1000;
// Versions of one key that are remembered to notice a listing that goes round within it.
constexpr std::size_t kVersionsRememberedMax = 1'000'000;

Error damaged(std::string what) {
  return Error(ErrorCode::corruption, "listing: " + std::move(what));
}

// The elements of one page, of any kind of listing.
struct Page {
  bool encoded = false, truncated = false;
  std::string next;
  std::vector<ListedVersion> entries;
  std::vector<std::string> prefixes;
};

class PageHandler final : public XmlHandler {
 public:
  PageHandler(std::string_view root, Page& page) : root_(root), page_(page) {}

  Status begin(std::string_view path) override {
    if (path.find('/') == std::string_view::npos && path != root_)
      return damaged("the answer is a " + std::string(path));
    path = inside(path);
    if (path == "Contents" || path == "Version" || path == "DeleteMarker") {
      page_.entries.emplace_back();
      page_.entries.back().is_delete_marker = path == "DeleteMarker";
      seen_size_ = seen_key_ = seen_time_ = false;
    }
    return {};
  }

  Status end(std::string_view path, const std::string& text) override {
    path = inside(path);
    if (path == "EncodingType") page_.encoded = text == "url";
    if (path == "NextContinuationToken") page_.next = text;
    if (path == "CommonPrefixes/Prefix") page_.prefixes.push_back(text);
    if (path == "IsTruncated") {
      if (text != "true" && text != "false") return damaged("IsTruncated is neither");
      page_.truncated = text == "true";
      seen_truncated_ = true;
    }
    const auto slash = path.find('/');
    if (slash == std::string_view::npos) return entry_end(path);
    const std::string_view entry = path.substr(0, slash);
    if (entry == "Contents" || entry == "Version" || entry == "DeleteMarker")
      return field(path.substr(slash + 1), text);
    return {};
  }

  // After the whole document.
  Status finish() {
    if (!seen_truncated_) return damaged("it does not say whether more follows");
    for (ListedVersion& entry : page_.entries) {
      TM_TRY(entry.key, listed_key(entry.key, page_.encoded));
      if (entry.key.empty()) return damaged("an entry without a key");
    }
    for (std::string& prefix : page_.prefixes) {
      TM_TRY(prefix, listed_key(prefix, page_.encoded));
    }
    return {};
  }

 private:
  std::string_view inside(std::string_view path) const {
    const auto slash = path.find('/');
    return slash == std::string_view::npos ? "" : path.substr(slash + 1);
  }
  Status entry_end(std::string_view name) const {
    const bool object = name == "Contents" || name == "Version";
    if (!object && name != "DeleteMarker") return {};
    if (!seen_key_ || !seen_time_ || (object && !seen_size_))
      return damaged("an entry without key, time or size");
    return {};
  }
  Status field(std::string_view name, const std::string& text) {
    ListedVersion& entry = page_.entries.back();
    if (name == "Key") {
      entry.key = text;
      seen_key_ = true;
    } else if (name == "Size") {
      TM_TRY(entry.size, number_of(text, "a listed size"));
      seen_size_ = true;
    } else if (name == "LastModified") {
      TM_TRY(entry.last_modified, time_of(text));
      seen_time_ = true;
    } else if (name == "ETag") {
      entry.etag = unquoted(text);
    } else if (name == "StorageClass") {
      entry.storage_class = text;
    } else if (name == "VersionId") {
      entry.version_id = text;
    } else if (name == "IsLatest") {
      entry.is_latest = text == "true";
    } else if (name == "Owner/ID") {
      entry.owner_id = text;
    }
    return {};
  }

  const std::string root_;
  Page& page_;
  bool seen_truncated_ = false, seen_key_ = false, seen_size_ = false, seen_time_ = false;
};

Result<Page> fetch(Requester& requester, const Request& request, const Call& call,
                   std::string_view root) {
  auto answer = requester.perform(request, call);
  if (!answer) return answer.error().context("list " + request.bucket);
  Page page;
  PageHandler handler(root, page);
  TM_DO(parse_xml(answer->body, handler));
  TM_DO(handler.finish());
  return page;
}

ListedObject object_of(ListedVersion&& entry) {
  return {std::move(entry.key), std::move(entry.etag), entry.size, entry.last_modified,
          std::move(entry.storage_class)};
}

// Keys ascend from behind `after` and begin with `prefix`. `repeats`: equal ones may follow.
Status check_order(const std::vector<ListedVersion>& entries, const std::string& prefix,
                   std::string_view after, bool repeats) {
  for (const ListedVersion& entry : entries) {
    if (!entry.key.starts_with(prefix)) return damaged("a key outside of the prefix");
    const int order = entry.key.compare(after);
    if (order < 0 || (order == 0 && !repeats)) return damaged("keys do not ascend");
    after = entry.key;
  }
  return {};
}

class Objects final : public ObjectListing {
 public:
  Objects(Requester& requester, std::string bucket, ListOptions options, Call call)
      : requester_(requester),
        bucket_(std::move(bucket)),
        options_(std::move(options)),
        call_(std::move(call)),
        after_(options_.start_after) {}

  Result<std::vector<ListedObject>> next_page() override {
    if (ended_) return std::vector<ListedObject>();
    Request request = named("GET", bucket_, {});
    request.query = {
        {"list-type", "2"},
        {"encoding-type", "url"},
        {"max-keys", std::to_string(std::clamp(options_.page_size, 1U, kPageSizeMax))}};
    if (!options_.prefix.empty()) request.query["prefix"] = options_.prefix;
    if (!after_.empty()) request.query["start-after"] = after_;
    TM_TRY(Page page, fetch(requester_, request, call_, "ListBucketResult"));
    TM_DO(check_order(page.entries, options_.prefix, after_, false));
    if (page.entries.empty() && page.truncated) return damaged("an empty page, and more to follow");
    ended_ = !page.truncated;
    if (!page.entries.empty()) after_ = page.entries.back().key;
    std::vector<ListedObject> objects;
    objects.reserve(page.entries.size());
    for (ListedVersion& entry : page.entries) objects.push_back(object_of(std::move(entry)));
    return objects;
  }

 private:
  Requester& requester_;
  const std::string bucket_;
  const ListOptions options_;
  const Call call_;
  std::string after_;
  bool ended_ = false;
};

class Versions final : public VersionListing {
 public:
  Versions(Requester& requester, std::string bucket, std::string prefix, VersionPosition after,
           Call call, unsigned page_size)
      : requester_(requester),
        bucket_(std::move(bucket)),
        prefix_(std::move(prefix)),
        call_(std::move(call)),
        page_size_(std::clamp(page_size, 1U, kPageSizeMax)),
        behind_(after.version_id.empty() ? after.key : std::string()),
        after_(std::move(after)) {}

  // radosgw 16 answers to a marker that is a key alone with that key's own versions first.
  Result<std::vector<ListedVersion>> next_page() override {
    while (!ended_) {
      TM_TRY(Page page, fetch_page());
      ended_ = !page.truncated;
      if (!page.entries.empty()) after_ = {page.entries.back().key, page.entries.back().version_id};
      if (!behind_.empty())
        std::erase_if(page.entries, [&](const ListedVersion& one) { return one.key == behind_; });
      if (!page.entries.empty()) return std::move(page.entries);
    }
    return std::vector<ListedVersion>();
  }
  VersionPosition position() const override { return after_; }

 private:
  Result<Page> fetch_page() {
    Request request = named("GET", bucket_, {});
    request.query = {
        {"versions", ""}, {"encoding-type", "url"}, {"max-keys", std::to_string(page_size_)}};
    if (!prefix_.empty()) request.query["prefix"] = prefix_;
    if (!after_.key.empty()) request.query["key-marker"] = after_.key;
    if (!after_.version_id.empty()) request.query["version-id-marker"] = after_.version_id;
    TM_TRY(Page page, fetch(requester_, request, call_, "ListVersionsResult"));
    TM_DO(check_order(page.entries, prefix_, after_.key, true));
    if (page.entries.empty() && page.truncated) return damaged("an empty page, and more to follow");
    TM_DO(check_versions(page.entries));
    return page;
  }

  // No version of a key comes twice, within a page or later.
  Status check_versions(const std::vector<ListedVersion>& entries) {
    std::string_view key = after_.key;
    std::unordered_set<std::string> seen = seen_;
    if (seen.empty() && !after_.version_id.empty()) seen.insert(after_.version_id);
    for (const ListedVersion& entry : entries) {
      if (entry.version_id.empty()) return damaged("a version without an id");
      if (entry.key != key) seen.clear();
      key = entry.key;
      if (!seen.insert(entry.version_id).second) return damaged("a version comes twice");
      if (seen.size() > kVersionsRememberedMax) seen.clear();
    }
    seen_ = std::move(seen);
    return {};
  }

  Requester& requester_;
  const std::string bucket_, prefix_;
  const Call call_;
  const unsigned page_size_;
  const std::string behind_;  // none of its versions is meant; empty: none is left out
  VersionPosition after_;
  std::unordered_set<std::string> seen_;  // versions of after_.key
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<ObjectListing> Client::list_objects(std::string bucket, ListOptions options,
                                                    Call call) const {
  return std::make_unique<Objects>(*requester_, std::move(bucket), std::move(options),
                                   std::move(call));
}

std::unique_ptr<VersionListing> Client::list_versions(std::string bucket, std::string prefix,
                                                      VersionPosition after, Call call,
                                                      unsigned page_size) const {
  return std::make_unique<Versions>(*requester_, std::move(bucket), std::move(prefix),
                                    std::move(after), std::move(call), page_size);
}

Result<FolderPage> Client::list_folder(const std::string& bucket, const std::string& prefix,
                                       const std::string& delimiter, const std::string& token,
                                       const Call& call) const {
  if (delimiter.empty()) return Error(ErrorCode::invalid_argument, "an empty delimiter");
  Request request = named("GET", bucket, {});
  request.query = {{"list-type", "2"}, {"delimiter", delimiter}};
  if (!prefix.empty()) request.query["prefix"] = prefix;
  if (!token.empty()) request.query["continuation-token"] = token;
  TM_TRY(Page page, fetch(*requester_, request, call, "ListBucketResult"));
  TM_DO(check_order(page.entries, prefix, "", false));
  FolderPage folder;
  std::string last;
  for (std::string& found : page.prefixes) {
    const bool below =
        found.size() > prefix.size() && found.starts_with(prefix) && found.ends_with(delimiter);
    if (!below || found <= last) return damaged("folders do not ascend");
    last = found;
    folder.prefixes.push_back(std::move(found));
  }
  for (ListedVersion& entry : page.entries) folder.objects.push_back(object_of(std::move(entry)));
  if (page.truncated) {
    if (page.next.empty() || page.next == token) return damaged("its token does not move on");
    if (page.next.find(kXmlReplacement) != std::string::npos)
      return Error(ErrorCode::unsupported, "listing: a token that XML cannot carry");
    folder.next = std::move(page.next);
  }
  return folder;
}

}  // namespace tidemark::s3
