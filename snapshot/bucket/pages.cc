#include "snapshot/bucket/pages.h"

#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/queue.h"

namespace tidemark {
namespace {

using Page = std::vector<ObjectEntry>;

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

// A client's listing of objects or of versions.
template <class Listing>
class PagesInTurn final : public ListingPages {
 public:
  explicit PagesInTurn(std::unique_ptr<Listing> listing) : listing_(std::move(listing)) {}

  Result<Page> next_page() override {
    TM_TRY(const auto listed, listing_->next_page());
    Page page;
    page.reserve(listed.size());
    for (const auto& one : listed) page.push_back(entry_of(one));
    return page;
  }

 private:
  const std::unique_ptr<Listing> listing_;
};

// Keys behind `after`, up to and with `last`.
struct Range {
  std::string after;
  std::optional<std::string> last;  // nothing: to the end
  BoundedQueue<Page> pages{kPagesAhead};
  Status failure;  // before `pages` is closed: of the thread that lists
};
using RangePtr = std::shared_ptr<Range>;

class PagesInRanges final : public ListingPages {
 public:
  PagesInRanges(const ListingScope& scope, NextCut cuts)
      : scope_{scope.client, scope.bucket, scope.versions, stop_.get_token()},
        cuts_(std::move(cuts)),
        on_stop_(scope.stop, [this] { shut(); }) {
    for (std::size_t i = 0; i < kListedAtOnce; ++i)
      threads_.start("tm-range", [this] { return list_ranges(); });
  }
  ~PagesInRanges() override { shut(); }

  Result<Page> next_page() override;

 private:
  void shut();
  Status list_ranges();
  RangePtr next_range();
  Status begin_range(Range& range);
  Status list(Range& range);

  std::stop_source stop_;
  const ListingScope scope_;  // stops with stop_
  const NextCut cuts_;
  std::mutex cutting_;     // held while a range is made, so that they come in order
  std::string after_;      // where the next range begins; guarded by cutting_
  bool cuts_end_ = false;  // guarded by cutting_
  std::mutex mutex_;       // taken after cutting_
  std::condition_variable changed_;
  std::deque<RangePtr> ranges_;  // begun and not yet read to their ends; guarded by mutex_
  bool all_begun_ = false;       // guarded by mutex_
  bool shut_ = false;            // guarded by mutex_
  std::stop_callback<std::function<void()>> on_stop_;
  ThreadGroup threads_{[] {}};  // last: its threads use the rest
};

void PagesInRanges::shut() {
  stop_.request_stop();
  {
    std::lock_guard lock(mutex_);
    shut_ = true;
    for (const RangePtr& range : ranges_) range->pages.close();
  }
  changed_.notify_all();
}

Status PagesInRanges::list_ranges() {
  while (const RangePtr range = next_range()) {
    if (range->failure) range->failure = list(*range);
    range->pages.close();
  }
  return {};
}

// Waits until one more may be listed; null where there is none.
RangePtr PagesInRanges::next_range() {
  std::lock_guard cutting(cutting_);
  if (cuts_end_) return nullptr;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return shut_ || ranges_.size() < kListedAtOnce; });
    if (shut_) return nullptr;
  }
  auto range = std::make_shared<Range>();
  range->failure = begin_range(*range);
  cuts_end_ = !range->failure || !range->last;
  {
    std::lock_guard lock(mutex_);
    if (shut_) return nullptr;
    ranges_.push_back(range);
    all_begun_ = cuts_end_;
  }
  changed_.notify_all();
  return range;
}

Status PagesInRanges::begin_range(Range& range) {
  range.after = after_;
  do {
    TM_TRY(range.last, cuts_());
  } while (range.last && *range.last <= after_);
  if (range.last) after_ = *range.last;
  return {};
}

Status PagesInRanges::list(Range& range) {
  const auto pages = list_in_turn(scope_, "", range.after);
  while (true) {
    TM_TRY(Page page, pages->next_page());
    if (page.empty()) return {};
    bool ended = false;
    while (range.last && !page.empty() && page.back().place.key > *range.last) {
      page.pop_back();
      ended = true;
    }
    if (!page.empty() && !range.pages.push(std::move(page)))
      return Error(ErrorCode::cancelled, "listing stopped");
    if (ended) return {};
  }
}

Result<Page> PagesInRanges::next_page() {
  while (true) {
    RangePtr range;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return shut_ || all_begun_ || !ranges_.empty(); });
      if (shut_) return Error(ErrorCode::cancelled, "listing stopped");
      if (ranges_.empty()) return Page();
      range = ranges_.front();
    }
    if (auto page = range->pages.pop()) return *std::move(page);
    {
      std::lock_guard lock(mutex_);
      if (shut_) continue;  // and its thread may still be at it
      TM_DO(range->failure);
      ranges_.pop_front();
    }
    changed_.notify_all();
  }
}

}  // namespace

std::unique_ptr<ListingPages> list_in_turn(const ListingScope& scope, const std::string& prefix,
                                           const std::string& after, unsigned page_size) {
  s3::Call call;
  call.stop = scope.stop;
  if (scope.versions)
    return std::make_unique<PagesInTurn<s3::VersionListing>>(
        scope.client->list_versions(scope.bucket, prefix, {after, {}}, std::move(call), page_size));
  return std::make_unique<PagesInTurn<s3::ObjectListing>>(
      scope.client->list_objects(scope.bucket, {prefix, after, page_size}, std::move(call)));
}

std::unique_ptr<ListingPages> list_in_ranges(const ListingScope& scope, NextCut cuts) {
  return std::make_unique<PagesInRanges>(scope, std::move(cuts));
}

}  // namespace tidemark
