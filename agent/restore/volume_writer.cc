#include "agent/restore/volume_writer.h"

#include <algorithm>

#include "base/queue.h"

namespace tidemark {
namespace {

constexpr std::size_t kWriterThreads = 4;
constexpr std::size_t kQueuedReadsMax = 8;
constexpr std::uint64_t kWindowBytes = 64 * kMiB;
constexpr std::size_t kWindowRegionsMax = 1024;
constexpr std::size_t kStreamRegions = 8;

// A piece of a chunk and where it goes.
struct Use {
  std::uint64_t target_offset = 0;
  std::uint32_t chunk_offset = 0;
  std::uint32_t size = 0;
};
using Uses = std::unordered_map<ChunkId, std::vector<Use>, IdHash>;

struct Task {
  PackRead read;
  std::vector<std::vector<Use>> uses;  // per entry of the read
};

// Splits a region's work into pieces of chunks and runs of zeros.
void split_work(const RegionWork& work, Uses& uses, std::vector<RegionRun>& zeros) {
  for (const RegionRun& run : work.runs) {
    std::uint32_t at = run.offset;
    const std::uint32_t end = run.offset + run.size;
    for (const RegionExtent& extent : work.map.extents) {
      const std::uint32_t from = std::max(at, extent.offset);
      const std::uint32_t to = std::min(end, extent.offset + extent.size);
      if (from >= to) continue;
      if (from > at) zeros.push_back({at, from - at});
      uses[work.map.chunks[extent.chunk].id].push_back({work.region * kRegionBytes + from,
                                                        extent.chunk_offset + from - extent.offset,
                                                        to - from});
      at = to;
    }
    if (at < end) zeros.push_back({at, end - at});
  }
}

class PlanWriter {
 public:
  PlanWriter(BlobReader& reader, VolumeTarget& target, RestoreProgress& progress)
      : reader_(reader), target_(target), progress_(progress) {}

  Status run(const RegionPlan& plan, std::stop_token stop) {
    std::stop_callback on_stop(
        stop, [this] { threads_.fail(Error(ErrorCode::cancelled, "interrupted")); });
    for (std::size_t i = 0; i < kWriterThreads; ++i) {
      threads_.start("tm-restore", [this]() -> Status {
        while (auto task = tasks_.pop()) TM_DO(write(*task));
        return {};
      });
    }
    threads_.start("tm-plan", [&]() -> Status {
      TM_DO(produce(plan));
      tasks_.close();
      return {};
    });
    TM_DO(threads_.join());
    return target_.finish();
  }

 private:
  // Takes work until a window is full; false at the end of the plan.
  Result<bool> gather(const RegionPlan& plan, Uses& uses) {
    std::uint64_t bytes = 0;
    for (std::size_t regions = 0; regions < kWindowRegionsMax && bytes < kWindowBytes; ++regions) {
      TM_TRY(const auto work, plan());
      if (!work) return false;
      std::vector<RegionRun> zeros;
      split_work(*work, uses, zeros);
      for (const RegionRun& run : zeros) {
        TM_DO(target_.zero(work->region * kRegionBytes + run.offset, run.size));
        progress_.zeroed_bytes += run.size;
      }
      for (const RegionChunk& chunk : work->map.chunks) bytes += chunk.plain_size;
      progress_.position_bytes = work->region * kRegionBytes;
    }
    return true;
  }

  Status produce(const RegionPlan& plan) {
    for (bool more = true; more;) {
      Uses uses;
      TM_TRY(more, gather(plan, uses));
      std::vector<ChunkId> ids;
      for (const auto& [id, unused] : uses) ids.push_back(id);
      TM_TRY(const auto locations, reader_.locate(ids));
      for (PackRead& read : plan_reads(locations)) {
        Task task;
        for (const PackEntry& entry : read.entries)
          task.uses.push_back(std::move(uses.at(entry.id)));
        task.read = std::move(read);
        if (!tasks_.push(std::move(task))) return Error(ErrorCode::cancelled, "restore stopped");
      }
    }
    return {};
  }

  Status write(const Task& task) {
    std::size_t next = 0;
    return reader_.fetch(task.read, [&](const PackEntry&, Bytes plain) -> Status {
      const auto keep = std::make_shared<const Bytes>(std::move(plain));
      for (const Use& use : task.uses[next++]) {
        if (std::uint64_t{use.chunk_offset} + use.size > keep->size())
          return Error(ErrorCode::corruption, "a chunk is shorter than its region's map says");
        TM_DO(target_.write(use.target_offset, ByteView(*keep).subspan(use.chunk_offset, use.size),
                            keep));
        progress_.written_bytes += use.size;
      }
      return {};
    });
  }

  BlobReader& reader_;
  VolumeTarget& target_;
  RestoreProgress& progress_;
  BoundedQueue<Task> tasks_{kQueuedReadsMax};
  ThreadGroup threads_{[this] { tasks_.abort(); }};  // last: its threads use the rest
};

}  // namespace

Status write_plan(const RegionPlan& plan, BlobReader& reader, VolumeTarget& target,
                  RestoreProgress& progress, std::stop_token stop) {
  return PlanWriter(reader, target, progress).run(plan, std::move(stop));
}

Status stream_plan(const RegionPlan& plan, BlobReader& reader,
                   const std::function<Status(const RegionWork&, const Bytes&)>& each,
                   std::stop_token stop) {
  struct Window {
    std::vector<RegionWork> work;
    std::vector<Bytes> regions;
  };
  // One window is read while the one before is given out.
  BoundedQueue<Window> windows(1);
  ThreadGroup threads([&] { windows.abort(); });
  threads.start("tm-stream", [&]() -> Status {
    for (bool more = true; more;) {
      Window window;
      while (more && window.work.size() < kStreamRegions) {
        TM_TRY(auto work, plan());
        more = work.has_value();
        if (work) window.work.push_back(*std::move(work));
      }
      TM_TRY(window.regions, read_regions(reader, window.work));
      if (!windows.push(std::move(window))) return Error(ErrorCode::cancelled, "stopped");
    }
    windows.close();
    return {};
  });
  while (auto window = windows.pop()) {
    for (std::size_t i = 0; i < window->work.size(); ++i) {
      auto status = stop.stop_requested() ? Status(Error(ErrorCode::cancelled, "interrupted"))
                                          : each(window->work[i], window->regions[i]);
      if (!status) {
        threads.fail(status.error());
        return threads.join();
      }
    }
  }
  return threads.join();
}

}  // namespace tidemark
