#include "agent/backup/bucket_capture.h"

#include <algorithm>

#include "agent/backup/chunk_uploader.h"
#include "agent/backup/key_entries.h"
#include "agent/backup/ordered_changes.h"
#include "base/assert.h"
#include "base/log.h"
#include "snapshot/bucket/listing.h"
#include "snapshot/bucket/object.h"

namespace tidemark {
namespace {

constexpr std::size_t kWorkers = 2;
constexpr std::size_t kQueuedKeysMax = 1024;
// About kPagesAhead pages.
constexpr std::uint64_t kRangeEntries = 4096;
// Small chunks count as this much, which bounds their number too.
constexpr std::size_t kChunkCostMin = 4096;
// Entries on their way into the tree.
constexpr std::uint64_t kEntriesBytesMax = 48 * kMiB;
// How often a key is looked at again that moves, and an object is read again that broke off.
constexpr int kLooksMax = 8, kReadsMax = 3;

// One key on its way: what was known of it, and what the server lists now.
struct KeyJob {
  std::uint64_t sequence = 0;
  ListedKey listed;
  std::vector<ObjectEntry> old;
  std::uint64_t cost = 0;
  bool asked = true;          // `listed` is what the server lists; otherwise only the key
  bool listed_again = false;  // the same versions as the time before
};
using JobPtr = std::shared_ptr<KeyJob>;

// What one look at a key gave.
struct Look {
  std::vector<ObjectEntry> now;
  bool moved = false;              // a listed version is not there any more
  std::optional<Error> unsettled;  // why a listed version is not in `now`
};

// Errors that one object's ACL, encryption or damage explains. All others say that the gateway
// cannot be read from now, and none of its objects is to blame.
bool may_be_of_object(const Error& error) {
  switch (error.code()) {
    case ErrorCode::permission_denied:
    case ErrorCode::corruption:
    case ErrorCode::unsupported:
    case ErrorCode::invalid_argument:
      return true;
    default:
      return false;
  }
}

// Where the point before has many keys there are probably many now. A bucket without one is listed
// as one range: each of its objects costs requests of its own to be read, next to which a page of a
// thousand is nothing.
Result<std::optional<std::string>> next_cut(TreeCuts& cuts) {
  TM_TRY(const auto tree_key, cuts.next());
  if (!tree_key) return std::optional<std::string>();
  TM_TRY(ObjectPlace place, object_of_tree_key(*tree_key));
  return std::optional(std::move(place.key));
}

class Capture {
 public:
  Capture(const BucketCaptureInput& input, PointStore& store, const UploadSession& session,
          const StoreKeys& keys, TreeNodes& nodes)
      : input_(input),
        keys_(keys),
        nodes_(nodes),
        cursor_(nodes, input.base_root, input.keys == nullptr),
        size_bytes_(input.keys != nullptr ? input.base_size_bytes : 0),
        sender_(store, session, keys, input.limiter),
        uploader_(store, session, sender_, input.zstd_level,
                  [this](ChunkUploader::Task task) { tasks_.push(std::move(task)); }) {}

  Result<BucketCaptureResult> run();

 private:
  void start_threads();
  Status list();
  Status look_at_keys();
  Status take_old(const std::string& key, KeyJob& job);
  Status take_turn(KeyJob& job);
  Status hand_on(const JobPtr& job);
  ListingScope scope() const;
  Status merge(ListedKey listed);
  Status drop_until(const std::string& tree_key);
  Status read_keys();
  Status read_key(KeyJob& job);
  Result<Look> look(const KeyJob& job, bool last);
  Error why_never_read(const KeyJob& job, const ObjectEntry& version);
  Status check_lasting(const Error& error);
  Status look_again(KeyJob& job);
  void note_unsettled(const std::string& key, const Error& why);
  Result<std::optional<ObjectEntry>> read(const ObjectEntry& listed);
  void finish(KeyJob& job, const std::vector<ObjectEntry>& now);
  ChunkSink sink();
  Status build_tree();
  void abort();

  const BucketCaptureInput& input_;
  const StoreKeys& keys_;
  TreeNodes& nodes_;
  TreeCursor cursor_;                      // of the listing thread
  std::uint64_t sequence_ = 0;             // of the listing thread
  std::uint64_t reordered_ = 0;            // of the listing thread
  std::atomic<std::uint64_t> size_bytes_;  // of all entries
  std::atomic<std::uint64_t> dropped_{0}, moved_{0}, read_objects_{0};
  std::atomic<std::size_t> readers_{kObjectReaders};
  std::mutex unsettled_mutex_;
  UnsettledKeys unsettled_;  // guarded by unsettled_mutex_
  TreeRoot root_;

  Budget bytes_{kReadAheadBytes};
  Budget entries_{kEntriesBytesMax};
  BoundedQueue<JobPtr> jobs_{kQueuedKeysMax};
  BoundedQueue<ChunkUploader::Task> tasks_{ChunkUploader::kWaitingMax};
  OrderedChanges changes_{&entries_};
  PackSender sender_;
  ChunkUploader uploader_;
  std::stop_source stop_;                     // of calls to the gateway
  ThreadGroup threads_{[this] { abort(); }};  // last: its threads use the rest
};

void Capture::abort() {
  stop_.request_stop();
  bytes_.abort();
  entries_.abort();
  jobs_.abort();
  tasks_.abort();
  uploader_.abort();
  changes_.abort();
  sender_.abort();
}

void Capture::start_threads() {
  for (std::size_t i = 0; i < kWorkers; ++i) {
    threads_.start("tm-work", [this]() -> Status {
      while (auto task = tasks_.pop()) TM_DO((*task)());
      return {};
    });
  }
  threads_.start("tm-ask", [this]() -> Status {
    TM_DO(uploader_.run());
    tasks_.close();
    return {};
  });
  for (std::size_t i = 0; i < kObjectReaders; ++i) {
    threads_.start("tm-object", [this]() -> Status {
      TM_DO(read_keys());
      if (--readers_ == 0) uploader_.close();
      return {};
    });
  }
  threads_.start("tm-list", [this]() -> Status {
    TM_DO(input_.keys != nullptr ? look_at_keys() : list());
    changes_.end(sequence_);
    jobs_.close();
    return {};
  });
  threads_.start("tm-tree", [this] { return build_tree(); });
}

Result<BucketCaptureResult> Capture::run() {
  std::stop_callback on_stop(input_.stop,
                             [this] { threads_.fail(Error(ErrorCode::cancelled, "interrupted")); });
  start_threads();
  TM_DO(threads_.join());
  // A user who may list and not read gets an error, not a point of nothing.
  if (root_.entries == 0 && unsettled_.count > 0)
    return unsettled_.named.front().why.context("no object can be read");
  TM_DO(sender_.finish());
  BucketCaptureResult out;
  out.root = root_;
  out.objects = root_.entries;
  out.size_bytes = size_bytes_;
  out.changed_bytes = input_.progress->changed_bytes;
  out.sent_bytes = sender_.bytes_sent();
  out.read_objects = read_objects_;
  out.read_bytes = input_.progress->read_bytes;
  out.dropped_objects = dropped_;
  out.moved_keys = moved_;
  out.reordered_keys = reordered_;
  std::ranges::sort(unsettled_.named, {}, &UnsettledKey::key);
  out.unsettled = std::move(unsettled_);
  input_.progress->sent_bytes = out.sent_bytes;
  return out;
}

Status Capture::list() {
  TM_DO(cursor_.seek(""));
  TreeCuts cuts(nodes_, input_.base_root, kRangeEntries);
  KeyListing listing(list_in_ranges(scope(), [&] { return next_cut(cuts); }));
  while (true) {
    TM_TRY(auto listed, listing.next());
    if (!listed) break;
    TM_DO(drop_until(object_tree_prefix(listed->key)));
    TM_DO(merge(*std::move(listed)));
  }
  while (cursor_.valid()) TM_DO(drop_until(cursor_.entry().key + '\0'));
  return {};
}

ListingScope Capture::scope() const {
  return {input_.client, input_.bucket, input_.versions, stop_.get_token()};
}

// Entries of the old tree that the listing has passed are gone.
Status Capture::drop_until(const std::string& tree_key) {
  while (cursor_.valid() && cursor_.entry().key < tree_key) {
    if (!entries_.acquire(kChunkCostMin)) return Error(ErrorCode::cancelled, "capture stopped");
    ++dropped_;
    changes_.put(sequence_++, {TreeChange{cursor_.entry().key, std::nullopt}}, kChunkCostMin);
    TM_DO(cursor_.next());
  }
  return {};
}

// Each key's own small listing is left to the readers, who are many.
Status Capture::look_at_keys() {
  for (const std::string& key : *input_.keys) {
    auto job = std::make_shared<KeyJob>();
    TM_DO(cursor_.seek(object_tree_prefix(key)));
    TM_DO(take_old(key, *job));
    for (const ObjectEntry& entry : job->old) size_bytes_ -= entry.size_bytes;
    job->listed.key = key;
    job->asked = false;
    job->cost = 2048 * (1 + job->old.size());
    TM_DO(hand_on(job));
  }
  return {};
}

// The entries that the old tree has of a key, where the cursor is.
Status Capture::take_old(const std::string& key, KeyJob& job) {
  const std::string of_key = object_tree_prefix(key) + std::string(2, '\0');
  while (cursor_.valid() && cursor_.entry().key.starts_with(of_key)) {
    TM_TRY(ObjectEntry entry, decode_object(cursor_.entry()));
    job.old.push_back(std::move(entry));
    TM_DO(cursor_.next());
  }
  return {};
}

Status Capture::merge(ListedKey listed) {
  auto job = std::make_shared<KeyJob>();
  TM_DO(take_old(listed.key, *job));
  if (listed.reordered) {
    ++reordered_;
    log::warn("s3/{}: the versions of '{}' are not listed in the order of their times",
              input_.bucket, listed.key);
  }
  std::vector<ObjectEntry> now;
  for (const ObjectEntry& version : listed.versions) {
    job->cost += 2048 + version.size_bytes / kObjectChunkBytes * sizeof(ChunkId);
    const ObjectEntry* const same = find_same(job->old, version);
    if (same != nullptr) now.push_back(moved_to(*same, version));
    input_.progress->size_bytes += version.size_bytes;
  }
  const bool known = now.size() == listed.versions.size();
  if (known && now == job->old) {  // by far the most frequent
    for (const ObjectEntry& entry : now) size_bytes_ += entry.size_bytes;
    input_.progress->position_bytes = size_bytes_.load();
    return {};
  }
  job->listed = std::move(listed);
  if (!known) return hand_on(job);
  TM_DO(take_turn(*job));
  finish(*job, now);
  return {};
}

// Waits for room among the entries on their way, and gives the job its place in the tree's order.
Status Capture::take_turn(KeyJob& job) {
  if (!entries_.acquire(job.cost)) return Error(ErrorCode::cancelled, "capture stopped");
  job.sequence = sequence_++;
  return {};
}

Status Capture::hand_on(const JobPtr& job) {
  TM_DO(take_turn(*job));
  if (!jobs_.push(job)) return Error(ErrorCode::cancelled, "capture stopped");
  return {};
}

Status Capture::read_keys() {
  while (auto job = jobs_.pop())
    if (auto done = read_key(**job); !done)
      return std::move(done).error().context("read '" + (*job)->listed.key + "'");
  return {};
}

// A key never fails the others: what cannot be had of it is left as the point before has it.
Status Capture::read_key(KeyJob& job) {
  if (!job.asked) TM_DO(look_again(job));
  for (int looks = 1;; ++looks) {
    const bool last = looks == kLooksMax;
    TM_TRY(Look seen, look(job, last));
    if (seen.moved && looks == 1) ++moved_;
    if (seen.moved && !last) {
      TM_DO(look_again(job));
      continue;
    }
    if (seen.unsettled) {
      note_unsettled(job.listed.key, *seen.unsettled);
      choose_latest(seen.now);
    }
    finish(job, seen.now);
    return {};
  }
}

// Entries of the listed versions. It ends early where one is not there any more, unless it is the
// last look: then what can be had counts.
Result<Look> Capture::look(const KeyJob& job, bool last) {
  Look seen;
  for (const ObjectEntry& version : job.listed.versions) {
    if (const ObjectEntry* const same = find_same(job.old, version); same != nullptr) {
      seen.now.push_back(moved_to(*same, version));
      continue;
    }
    auto entry = read(version);
    if (entry && *entry) {
      seen.now.push_back(**std::move(entry));
      continue;
    }
    if (entry) {
      seen.moved = true;
      if (!last) return seen;
      seen.unsettled = why_never_read(job, version);
    } else {
      TM_DO(check_lasting(entry.error()));
      seen.unsettled = entry.error();
    }
    keep_older(job.old, version, seen.now);
  }
  return seen;
}

// An index can name what is not there: radosgw's does after a Complete and an Abort that met. A
// HEAD does not tell, as the object's own head can be all there is of it.
Error Capture::why_never_read(const KeyJob& job, const ObjectEntry& version) {
  if (job.listed_again) {
    s3::GetOptions options;
    options.version_id = version.place.version_id;
    s3::Call call;
    call.stop = stop_.get_token();
    const auto there = input_.client->get(input_.bucket, version.place.key, options, call);
    if (!there && there.error().code() == ErrorCode::not_found)
      return Error(ErrorCode::corruption, "it is listed, and cannot be found");
  }
  return Error(ErrorCode::unavailable, "it changes faster than it can be read");
}

// Success where the error is one of the object alone. A server that refuses everything refuses the
// bucket too.
Status Capture::check_lasting(const Error& error) {
  if (!may_be_of_object(error) || stop_.stop_requested()) return error;
  if (error.code() != ErrorCode::permission_denied) return {};
  s3::Call call;
  call.stop = stop_.get_token();
  return input_.client->head_bucket(input_.bucket, call);
}

void Capture::note_unsettled(const std::string& key, const Error& why) {
  ++input_.progress->keys_unsettled;
  std::lock_guard lock(unsettled_mutex_);
  ++unsettled_.count;
  if (unsettled_.named.size() == kUnsettledNamedMax) return;
  unsettled_.named.push_back({key, why});
  const auto text = fmt::format("s3/{}: '{}' is left as the point before has it: {}", input_.bucket,
                                key, why.message());
  why.code() == ErrorCode::corruption ? log::error("{}", text) : log::warn("{}", text);
}

// What the key holds now. Where it holds nothing the bucket is asked for too: one that is gone must
// not read as one whose objects were deleted.
Status Capture::look_again(KeyJob& job) {
  KeyListing listing(scope(), job.listed.key);
  TM_TRY(auto listed, listing.next());
  if (listed) {
    job.listed_again = listed->versions == job.listed.versions;
    job.listed = *std::move(listed);
    return {};
  }
  job.listed.versions.clear();
  s3::Call call;
  call.stop = stop_.get_token();
  return input_.client->head_bucket(input_.bucket, call);
}

Result<std::optional<ObjectEntry>> Capture::read(const ObjectEntry& listed) {
  for (int reads = 1;; ++reads) {
    auto entry = read_object(*input_.client, input_.bucket, listed, sink(), stop_.get_token());
    if (entry) {
      if (*entry) {
        ++read_objects_;
        input_.progress->read_bytes += listed.size_bytes;
      }
      return entry;
    }
    const bool again = entry.error().retryable() || entry.error().code() == ErrorCode::corruption;
    if (!again || reads == kReadsMax || stop_.stop_requested()) return entry;
    log::warn("s3/{}: '{}' is read again: {}", input_.bucket, listed.place.key,
              entry.error().message());
  }
}

void Capture::finish(KeyJob& job, const std::vector<ObjectEntry>& now) {
  for (const ObjectEntry& entry : now) {
    size_bytes_ += entry.size_bytes;
    if (find_same(job.old, entry) == nullptr) input_.progress->changed_bytes += entry.size_bytes;
  }
  input_.progress->position_bytes = size_bytes_.load();
  input_.progress->sent_bytes = sender_.bytes_sent();
  auto changes = changes_of(job.old, now);
  for (const TreeChange& change : changes)
    if (!change.entry) ++dropped_;
  changes_.put(job.sequence, std::move(changes), job.cost);
}

ChunkSink Capture::sink() {
  const auto cost = [](std::size_t size) { return std::max(size, kChunkCostMin); };
  ChunkSink out;
  out.reserve = [this, cost](std::size_t size) -> Status {
    if (bytes_.acquire(cost(size))) return {};
    return Error(ErrorCode::cancelled, "capture stopped");
  };
  out.release = [this, cost](std::size_t size) { bytes_.release(cost(size)); };
  out.put = [this, cost](Bytes bytes) {
    const ChunkId id = keys_.chunk_id(bytes);
    const std::size_t size = cost(bytes.size());
    uploader_.add({id, std::move(bytes), [this, size] { bytes_.release(size); }});
    return id;
  };
  return out;
}

Status Capture::build_tree() {
  TreeBuilder builder(keys_, node_sink(sender_, input_.zstd_level));
  TM_TRY(root_, update_tree(nodes_, input_.base_root, builder, [this] { return changes_.next(); }));
  return {};
}

}  // namespace

Result<BucketCaptureResult> capture_bucket(const BucketCaptureInput& input, PointStore& store,
                                           const UploadSession& session, const StoreKeys& keys,
                                           TreeNodes& nodes) {
  TM_CHECK(input.client != nullptr && input.progress != nullptr);
  Capture capture(input, store, session, keys, nodes);
  return capture.run();
}

}  // namespace tidemark
