#include "agent/restore/bucket_restore.h"

#include <algorithm>
#include <unordered_map>

#include "agent/read/bucket_diff.h"
#include "agent/restore/bucket_settings.h"

namespace tidemark {
namespace {

// Objects up to this size are fetched many at a time.
constexpr std::uint64_t kSmallObjectBytes = kMiB;
constexpr std::uint64_t kBatchBytes = 4 * kMiB;
constexpr std::size_t kBatchKeys = 256;
constexpr std::size_t kFetchThreads = 3;
constexpr std::size_t kQueuedBatches = 2, kQueuedKeys = 64;
constexpr std::size_t kDeletesPerCall = 1000;

// The chunks of a work, where they are few and small enough to be fetched with those of others.
std::uint64_t small_bytes(const KeyWork& work) {
  std::uint64_t sum = 0;
  for (const ObjectEntry& entry : work.write)
    sum += entry.chunks.size() > 1 ? 2 * kSmallObjectBytes : entry.size_bytes;
  return sum;
}

struct Task {
  KeyWork work;
  std::unordered_map<ChunkId, Bytes, IdHash> chunks;  // fetched before
  std::vector<s3::ObjectName> deletes;                // instead of `work`
};

}  // namespace

// Threads and queues of one run.
struct BucketRestore::Pipeline {
  explicit Pipeline(BucketRestore& restore_in);
  Status take(KeyWork work);
  Status finish();

  Status flush_batch();
  Status flush_deletes();
  Status fetch_all();
  Status fetch(std::vector<Task>& batch);
  Status write_all();
  Status write(Task& task);
  Status remove(const std::vector<s3::ObjectName>& names);
  Status add_extra(const KeyWork& work);

  BucketRestore& restore;
  ObjectWriter writer;
  std::vector<Task> batch;
  std::uint64_t batch_bytes = 0;
  std::vector<s3::ObjectName> deletes;
  BoundedQueue<std::vector<Task>> batches{kQueuedBatches};
  BoundedQueue<Task> tasks{kQueuedKeys};
  std::atomic<std::size_t> fetching{kFetchThreads};
  ThreadGroup threads;  // last: its threads use the rest
};

BucketRestore::Pipeline::Pipeline(BucketRestore& restore_in)
    : restore(restore_in),
      writer(restore.client_, restore.point_.reader(), restore.target_, restore.counts_,
             restore.problems_, restore.clock_, restore.stop_),
      threads([this] {
        batches.abort();
        tasks.abort();
      }) {
  for (std::size_t i = 0; i < kFetchThreads; ++i)
    threads.start("tm-fetch", [this] { return fetch_all(); });
  for (std::size_t i = 0; i < restore.options_.threads; ++i)
    threads.start("tm-put", [this] { return write_all(); });
}

Status BucketRestore::Pipeline::take(KeyWork work) {
  if (restore.stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
  TM_DO(add_extra(work));
  if (work.write.empty()) return {};
  const std::uint64_t bytes = small_bytes(work);
  Task task;
  task.work = std::move(work);
  if (bytes > kSmallObjectBytes) return tasks.push(std::move(task)) ? Status() : threads.failure();
  batch_bytes += bytes;
  batch.push_back(std::move(task));
  return batch.size() == kBatchKeys || batch_bytes >= kBatchBytes ? flush_batch() : Status();
}

// What is extra behind versions that are still to be written goes after them, with their key.
Status BucketRestore::Pipeline::add_extra(const KeyWork& work) {
  if (!restore.options_.delete_extra || !work.write.empty()) return {};
  for (const TargetVersion& version : work.extra) deletes.push_back({work.key, version.version_id});
  return deletes.size() >= kDeletesPerCall ? flush_deletes() : Status();
}

Status BucketRestore::Pipeline::flush_batch() {
  batch_bytes = 0;
  if (batch.empty()) return {};
  return batches.push(std::exchange(batch, {})) ? Status() : threads.failure();
}

Status BucketRestore::Pipeline::flush_deletes() {
  while (!deletes.empty()) {
    Task task;
    const auto end =
        deletes.begin() + static_cast<std::ptrdiff_t>(std::min(kDeletesPerCall, deletes.size()));
    task.deletes.assign(deletes.begin(), end);
    deletes.erase(deletes.begin(), end);
    if (!tasks.push(std::move(task))) return threads.failure();
  }
  return {};
}

Status BucketRestore::Pipeline::finish() {
  TM_DO(flush_batch());
  TM_DO(flush_deletes());
  batches.close();
  return threads.join();
}

Status BucketRestore::Pipeline::fetch_all() {
  while (auto next = batches.pop()) {
    TM_DO(fetch(*next));
    for (Task& task : *next)
      if (!tasks.push(std::move(task))) return {};
  }
  // The last one tells the writers that nothing more will come.
  if (--fetching == 0) tasks.close();
  return {};
}

Status BucketRestore::Pipeline::fetch(std::vector<Task>& work) {
  std::vector<ChunkId> ids;
  std::vector<Task*> owners;
  for (Task& task : work) {
    for (const ObjectEntry& entry : task.work.write) {
      if (entry.chunks.empty()) continue;
      ids.push_back(entry.chunks.front());
      owners.push_back(&task);
    }
  }
  auto blobs = restore.point_.reader().fetch_blobs(ids);
  // Whoever writes the object reads it alone then, and finds which of them it is.
  if (!blobs && blobs.error().code() == ErrorCode::corruption) return {};
  if (!blobs) return blobs.error();
  for (std::size_t i = 0; i < ids.size(); ++i) owners[i]->chunks[ids[i]] = std::move((*blobs)[i]);
  return {};
}

Status BucketRestore::Pipeline::write_all() {
  while (auto task = tasks.pop()) {
    if (restore.stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
    TM_DO(task->deletes.empty() ? write(*task) : remove(task->deletes));
  }
  return {};
}

Status BucketRestore::Pipeline::write(Task& task) {
  KeyWork& work = task.work;
  BucketCounts& counts = restore.counts_;
  if (work.compare) {
    TM_TRY(const bool same, writer.has_same(work.write.front()));
    if (same) {
      ++counts.skipped;
      counts.skipped_bytes += work.write.front().size_bytes;
      return {};
    }
  }
  ObjectWriter::Newest newest{restore.options_.versions, work.newest};
  const std::uint64_t problems = restore.problems_.count();
  for (const ObjectEntry& entry : work.write) {
    if (entry.delete_marker) {
      TM_DO(writer.write_marker(work.key, newest));
      continue;
    }
    std::optional<Bytes> chunk;
    const auto found =
        entry.chunks.size() == 1 ? task.chunks.find(entry.chunks.front()) : task.chunks.end();
    if (found != task.chunks.end()) chunk = found->second;
    TM_DO(writer.write(entry, std::move(chunk), newest));
  }
  if (work.exists) {
    ++counts.overwritten;
    counts.overwritten_bytes += work.replaced_bytes;
  }
  if (!restore.options_.delete_extra || work.extra.empty()) return {};
  // Nothing old is given up while something new is missing.
  if (restore.problems_.count() != problems) return {};
  std::vector<s3::ObjectName> names;
  for (const TargetVersion& version : work.extra) names.push_back({work.key, version.version_id});
  return remove(names);
}

Status BucketRestore::Pipeline::remove(const std::vector<s3::ObjectName>& names) {
  s3::Call call = restore.call();
  call.repeat = !restore.target_.versioned || !names.front().version_id.empty();
  for (std::size_t at = 0; at < names.size(); at += kDeletesPerCall) {
    const std::vector<s3::ObjectName> some(
        names.begin() + static_cast<std::ptrdiff_t>(at),
        names.begin() + static_cast<std::ptrdiff_t>(std::min(at + kDeletesPerCall, names.size())));
    TM_TRY(const auto failed, restore.client_.remove_all(restore.target_.name, some, false, call));
    for (const auto& failure : failed)
      restore.problems_.add(failure.name.key, "delete", failure.error);
    restore.counts_.deleted += some.size() - failed.size();
  }
  return {};
}

BucketRestore::BucketRestore(BucketPoint& point, s3::Client& client, BucketRestoreOptions options,
                             const Clock& clock, std::stop_token stop)
    : point_(point),
      client_(client),
      options_(std::move(options)),
      clock_(clock),
      stop_(std::move(stop)) {
  target_.name = options_.bucket;
  target_.users = options_.users;
}

BucketRestore::~BucketRestore() = default;

s3::Call BucketRestore::call() const {
  s3::Call call;
  call.stop = stop_;
  return call;
}

Status BucketRestore::check_selection() {
  const BucketSelection& selection = options_.selection;
  if (!selection.version.empty() && (options_.versions || !selection.one_key()))
    return Error(ErrorCode::invalid_argument, "a version is one of one key");
  if (!selection.one_key()) return {};
  KeyCursor cursor = point_.keys(selection);
  TM_TRY(const auto found, cursor.next());
  const std::string what = "'" + printable_key(selection.key) + "'" +
                           (selection.version.empty() ? "" : " in version " + selection.version);
  if (!found) return Error(ErrorCode::not_found, "the point has no " + what);
  if (!options_.versions && found->current() == nullptr)
    return Error(ErrorCode::not_found, "the point has " + what + " as deleted")
        .with_hint("name an older version, or restore all with --versions");
  return {};
}

Status BucketRestore::create() {
  const BucketMeta& meta = point_.meta();
  target_.locks = meta.documents.contains(s3::BucketDocument::object_lock);
  target_.versioned =
      target_.locks || options_.versions || meta.versioning != s3::Versioning::never;
  if (options_.plan) return {};
  TM_DO(client_.create_bucket(target_.name, target_.locks, {}, call()));
  created_ = exists_ = true;
  if (target_.versioned && !target_.locks)
    TM_DO(client_.set_versioning(target_.name, true, call()));
  return {};
}

Status BucketRestore::prepare() {
  TM_DO(check_selection());
  const auto head = client_.head_bucket(target_.name, call());
  if (!head && head.error().code() == ErrorCode::not_found) return create();
  TM_DO(head);
  exists_ = true;
  TM_TRY(const auto versioning, client_.versioning(target_.name, call()));
  target_.versioned = versioning != s3::Versioning::never;
  const auto lock = client_.document(target_.name, s3::BucketDocument::object_lock, call());
  target_.locks = lock && lock->has_value();
  if (options_.versions && versioning != s3::Versioning::enabled)
    return Error(ErrorCode::refused, "bucket " + target_.name + " does not keep versions")
        .with_hint("restore into a new bucket, or enable its versioning");
  return {};
}

Status BucketRestore::compare(const std::function<Status(KeyWork)>& each) {
  KeyCursor keys = point_.keys(options_.selection);
  TargetKeys target;
  if (exists_)
    target = TargetKeys(client_, target_.name, options_.selection, options_.versions, call());
  return compare_keys(keys, target, options_.versions, [&](KeyWork work) -> Status {
    ++counts_.objects;
    for (const ObjectEntry& entry : work.write) counts_.bytes += entry.size_bytes;
    counts_.bytes += work.same_bytes;
    counts_.skipped += work.same;
    counts_.skipped_bytes += work.same_bytes;
    if (!options_.delete_extra) counts_.extra += work.extra.size();
    return each(std::move(work));
  });
}

Status BucketRestore::count(const KeyWork& work) {
  if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "interrupted");
  if (work.compare) {
    ++counts_.compared;  // the bytes may turn out to be the same
  }
  for (const ObjectEntry& entry : work.write) {
    ++(entry.delete_marker ? counts_.markers : counts_.written);
    counts_.written_bytes += entry.size_bytes;
  }
  if (work.exists) {
    ++counts_.overwritten;
    counts_.overwritten_bytes += work.replaced_bytes;
  }
  if (!options_.delete_extra) return {};
  counts_.deleted += work.extra.size();
  for (const TargetVersion& version : work.extra) counts_.deleted_bytes += version.size;
  return {};
}

Status BucketRestore::execute() {
  Pipeline pipeline(*this);
  Status compared = compare([&](KeyWork work) { return pipeline.take(std::move(work)); });
  if (compared) compared = pipeline.finish();
  if (!compared) {
    pipeline.threads.fail(compared.error());
    return pipeline.threads.join();
  }
  return {};
}

Status BucketRestore::run() {
  TM_DO(prepare());
  if (options_.plan) return compare([&](const KeyWork& work) { return count(work); });
  TM_DO(execute());
  if (!created_ && !options_.force) return {};
  const SettingsTarget target{target_.name, options_.users,
                              options_.admin == nullptr ? client_ : *options_.admin};
  TM_DO(apply_bucket_settings(client_, target, point_.meta(), problems_, call()));
  settings_applied_ = true;
  return {};
}

}  // namespace tidemark
