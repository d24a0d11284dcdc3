#include "agent/backup/volume_capture.h"

#include <algorithm>

#include "agent/backup/chunk_uploader.h"
#include "agent/backup/ordered_changes.h"
#include "base/assert.h"
#include "base/queue.h"
#include "store/volume.h"

namespace tidemark {
namespace {

constexpr std::size_t kWorkers = 2;
// Queues between the stages hold jobs, and jobs are bounded by kJobsMax: these never fill.
constexpr std::size_t kQueueMax = 4 * kJobsMax;

// One region on its way through the pipeline.
struct Job {
  std::uint64_t sequence = 0;
  std::uint64_t region = 0;
  bool whole = false;
  RegionMap old;
  std::vector<RegionRun> cleared;  // becomes zeros first
  std::vector<RegionRun> reads;    // then this is read and laid over
  Bytes data;                      // the reads, one behind another
  std::uint64_t cost = 0;          // taken from the read-ahead budget
  std::atomic<std::size_t> reads_open{0};
  std::mutex mutex;
  std::optional<Error> error;  // guarded by mutex
  ChunkId chunk;
};
using JobPtr = std::shared_ptr<Job>;

std::uint64_t bytes_in(const std::vector<RegionRun>& runs) {
  std::uint64_t sum = 0;
  for (const RegionRun& run : runs) sum += run.size;
  return sum;
}

class Capture {
 public:
  Capture(const CaptureInput& input, PointStore& store, const UploadSession& session,
          const StoreKeys& keys, TreeNodes& nodes)
      : input_(input),
        store_(store),
        session_(session),
        keys_(keys),
        nodes_(nodes),
        size_bytes_(input.newer->size()),
        shrank_(input.base != nullptr && size_bytes_ < input.base_size_bytes),
        base_cursor_(nodes, input.base_root),
        sender_(store, session, keys, input.limiter) {}
  // Reads under way end in callbacks that use this object.
  ~Capture() { reads_.wait_for_none(); }

  Result<CaptureResult> run();

 private:
  Status list();
  Status submit(RegionChange change);
  Status drop_lost_regions();
  void start_reads(const JobPtr& job);
  void read_done(const JobPtr& job, Status status);
  Status process(const JobPtr& job);
  Status reread_whole(Job& job);
  Result<RegionMap> old_map(std::uint64_t region);
  std::uint32_t region_limit(std::uint64_t region) const;
  void finish_job(const JobPtr& job);
  Status build_tree();
  void abort();

  const CaptureInput& input_;
  PointStore& store_;
  const UploadSession session_;
  const StoreKeys& keys_;
  TreeNodes& nodes_;
  const std::uint64_t size_bytes_;
  const bool shrank_;
  TreeCursor base_cursor_;                        // of the listing thread
  std::uint64_t sequence_ = 0, next_region_ = 0;  // of the listing thread
  CaptureResult result_;

  Budget bytes_{kReadAheadBytes};
  Budget jobs_{kJobsMax};
  BoundedQueue<std::function<Status()>> tasks_{kQueueMax};
  InFlight reads_;
  OrderedChanges changes_;
  PackSender sender_;
  ChunkUploader uploader_{store_, session_, sender_, input_.zstd_level,
                          [this](ChunkUploader::Task task) { tasks_.push(std::move(task)); }};
  ThreadGroup threads_{[this] { abort(); }};  // last: its threads use the rest
};

void Capture::abort() {
  bytes_.abort();
  jobs_.abort();
  tasks_.abort();
  uploader_.abort();
  changes_.abort();
  sender_.abort();
}

Result<CaptureResult> Capture::run() {
  std::stop_callback on_stop(input_.stop,
                             [this] { threads_.fail(Error(ErrorCode::cancelled, "interrupted")); });
  input_.progress->size_bytes = size_bytes_;
  result_.changed_regions.resize((size_bytes_ + kRegionBytes - 1) / kRegionBytes);
  for (std::size_t i = 0; i < kWorkers; ++i) {
    threads_.start("tm-work", [this]() -> Status {
      while (auto task = tasks_.pop()) TM_DO((*task)());
      return {};
    });
  }
  threads_.start("tm-ask", [this] { return uploader_.run(); });
  threads_.start("tm-list", [this]() -> Status {
    TM_DO(list());
    changes_.end(sequence_);
    // Every job has given back its place once nothing is under way any more.
    if (!jobs_.acquire(kJobsMax)) return Error(ErrorCode::cancelled, "capture stopped");
    uploader_.close();
    tasks_.close();
    return {};
  });
  threads_.start("tm-tree", [this] { return build_tree(); });
  TM_DO(threads_.join());
  TM_DO(sender_.finish());
  result_.sent_bytes = sender_.bytes_sent();
  input_.progress->sent_bytes = result_.sent_bytes;
  result_.changed_bytes = input_.progress->changed_bytes;
  result_.read_bytes = input_.progress->read_bytes;
  return std::move(result_);
}

std::uint32_t Capture::region_limit(std::uint64_t region) const {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(kRegionBytes, size_bytes_ - region * kRegionBytes));
}

Status Capture::list() {
  ListChanges options;
  options.region_bytes = kRegionBytes;
  options.extents_max = kRegionExtentsMax / 2;
  TM_TRY(result_.listing,
         list_changes(
             *input_.newer, input_.base, options,
             [this](RegionChange change) { return submit(std::move(change)); }, input_.stop));
  input_.progress->position_bytes = size_bytes_;
  return shrank_ ? drop_lost_regions() : Status();
}

Result<RegionMap> Capture::old_map(std::uint64_t region) {
  const std::string key = region_key(region);
  if (!base_cursor_.valid() || base_cursor_.entry().key < key) TM_DO(base_cursor_.seek(key));
  if (!base_cursor_.valid() || base_cursor_.entry().key != key) return RegionMap();
  return decode_region(base_cursor_.entry(), kRegionBytes);
}

Status Capture::submit(RegionChange change) {
  auto job = std::make_shared<Job>();
  job->sequence = sequence_++;
  job->region = change.region;
  job->whole = change.whole || input_.base == nullptr;
  next_region_ = change.region + 1;
  result_.changed_regions[change.region] = true;
  TM_TRY(job->old, old_map(change.region));
  for (const ChangedExtent& extent : change.extents) {
    job->cleared.push_back({extent.offset, extent.size});
    if (!extent.zero) job->reads.push_back({extent.offset, extent.size});
  }
  const std::uint32_t limit = region_limit(change.region);
  if (job->whole) {
    job->cleared = {{0, kRegionBytes}};
  } else if (shrank_ && limit < kRegionBytes) {
    job->cleared.push_back({limit, kRegionBytes - limit});
  }
  input_.progress->changed_bytes += bytes_in(job->whole ? job->reads : job->cleared);
  input_.progress->position_bytes = change.region * kRegionBytes;
  input_.progress->sent_bytes = sender_.bytes_sent();
  const std::uint64_t to_read = bytes_in(job->reads);
  job->cost = std::max<std::uint64_t>(to_read, 4096);
  if (!jobs_.acquire(1) || !bytes_.acquire(job->cost))
    return Error(ErrorCode::cancelled, "capture stopped");
  job->data.resize(to_read);
  start_reads(job);
  return {};
}

// What lies past the new end is gone: whole regions leave the tree, the last one is cut.
Status Capture::drop_lost_regions() {
  if (const std::uint64_t last = size_bytes_ / kRegionBytes;
      size_bytes_ % kRegionBytes != 0 && next_region_ <= last)
    TM_DO(submit(RegionChange{last, false, {}}));
  TM_DO(base_cursor_.seek(region_key(result_.changed_regions.size())));
  while (base_cursor_.valid()) {
    changes_.put(sequence_++, {TreeChange{base_cursor_.entry().key, std::nullopt}});
    TM_DO(base_cursor_.next());
  }
  return {};
}

void Capture::start_reads(const JobPtr& job) {
  // One more than there are reads, so that the job cannot end before all are started.
  job->reads_open = job->reads.size() + 1;
  std::size_t at = 0;
  for (const RegionRun& run : job->reads) {
    reads_.begin();
    input_.newer->read(job->region * kRegionBytes + run.offset,
                       ByteSpan(job->data).subspan(at, run.size), [this, job](Status status) {
                         read_done(job, std::move(status));
                         reads_.end();
                       });
    at += run.size;
  }
  read_done(job, {});
}

void Capture::read_done(const JobPtr& job, Status status) {
  if (!status) {
    std::lock_guard lock(job->mutex);
    job->error = status.error();
  }
  if (--job->reads_open != 0) return;
  tasks_.push([this, job] { return process(job); });
}

// Moves the runs, which lie in `data` as laid out by `reads`, together to its front.
void compact(Bytes& data, const std::vector<RegionRun>& reads, const std::vector<RegionRun>& runs) {
  std::size_t to = 0, read_start = 0;
  auto read = reads.begin();
  for (const RegionRun& run : runs) {
    while (read->offset + read->size <= run.offset) read_start += (read++)->size;
    std::memmove(data.data() + to, data.data() + read_start + (run.offset - read->offset),
                 run.size);
    to += run.size;
  }
  data.resize(to);
}

Status Capture::reread_whole(Job& job) {
  job.whole = true;
  job.reads = {{0, region_limit(job.region)}};
  job.cleared = {{0, kRegionBytes}};
  job.data.resize(job.reads[0].size);
  input_.progress->read_bytes += job.data.size();
  return input_.newer->read_sync(job.region * kRegionBytes, job.data);
}

Status Capture::process(const JobPtr& job) {
  if (job->error) return job->error->context("read region " + std::to_string(job->region));
  input_.progress->read_bytes += job->data.size();
  RegionMap map;
  while (true) {
    std::vector<RegionRun> runs;
    std::size_t at = 0;
    for (const RegionRun& read : job->reads) {
      const auto found = nonzero_runs(ByteView(job->data).subspan(at, read.size), read.offset);
      runs.insert(runs.end(), found.begin(), found.end());
      at += read.size;
    }
    compact(job->data, job->reads, runs);
    const RegionMap& old = job->whole ? RegionMap() : job->old;
    if (runs.empty()) {
      map = clear_runs(old, job->cleared);
      break;
    }
    job->chunk = keys_.chunk_id(job->data);
    map = overlay(old, job->cleared, runs,
                  {job->chunk, static_cast<std::uint32_t>(job->data.size())});
    if (job->whole || !wants_whole_capture(map)) break;
    TM_DO(reread_whole(*job));
  }
  std::vector<TreeChange> change;
  if (map != job->old) {
    change.push_back({region_key(job->region), std::nullopt});
    if (!map.empty()) change[0].entry = encode_region(job->region, map);
  }
  const bool new_data = !change.empty() && !job->chunk.is_null();
  changes_.put(job->sequence, std::move(change));
  if (!new_data) {
    finish_job(job);
  } else {
    uploader_.add({job->chunk, std::move(job->data), [this, job] { finish_job(job); }});
  }
  return {};
}

void Capture::finish_job(const JobPtr& job) {
  job->data = Bytes();
  bytes_.release(job->cost);
  jobs_.release(1);
}

Status Capture::build_tree() {
  TreeBuilder builder(keys_, node_sink(sender_, input_.zstd_level));
  TM_TRY(result_.root, update_tree(nodes_, input_.base == nullptr ? TreeRoot{} : input_.base_root,
                                   builder, [this] { return changes_.next(); }));
  return {};
}

}  // namespace

Result<CaptureResult> capture_volume(const CaptureInput& input, PointStore& store,
                                     const UploadSession& session, const StoreKeys& keys,
                                     TreeNodes& nodes) {
  TM_CHECK(input.newer != nullptr && input.progress != nullptr);
  Capture capture(input, store, session, keys, nodes);
  return capture.run();
}

}  // namespace tidemark
