#include "snapshot/rbd/changes.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>

#include "base/queue.h"
#include "snapshot/rbd/answer.h"
#include "snapshot/rbd/diff.h"
#include "snapshot/rbd/facts.h"
#include "snapshot/rbd/plan.h"

namespace tidemark {

namespace {

using SteadyClock = std::chrono::steady_clock;

// Existence is looked up for this many regions at a time, which bounds memory: two bits each.
constexpr std::uint64_t kWindowRegions = 1u << 20;
// A task is at most this many regions that something is asked about...
constexpr std::size_t kTaskRegions = 256;
// ...spread over at most this many.
constexpr std::uint64_t kTaskSpan = 1u << 14;
// How often a long listing looks whether its snapshots are still there.
constexpr std::chrono::seconds kRecheck{10};

class Lister {
 public:
  Lister(RbdImage::Impl& newer, RbdImage::Impl* base, const ListChanges& options,
         const std::function<Status(RegionChange)>& each)
      : newer_(newer), base_(base), options_(options), each_(each) {}

  Result<ChangeStats> run(std::stop_token stop);

 private:
  Status prepare();
  Result<std::string> base_name() const;
  Status list();
  Status work_loop();
  Status deliver_loop();
  Status recheck(bool in_full);

  // Under planning_.
  Result<Task> next_task();
  Status load_window();
  Status mark(RbdImage::Impl& image, std::vector<bool>& exists);

  RbdImage::Impl& newer_;
  RbdImage::Impl* const base_;
  const ListChanges options_;
  const std::function<Status(RegionChange)>& each_;
  std::stop_source halt_;

  ImageFacts facts_;
  ObjectLayout layout_;
  std::optional<RegionPlanner> planner_;
  std::unique_ptr<Inquirer> inquirer_;
  SteadyClock::time_point checked_;

  std::mutex planning_;
  // Guarded by planning_.
  std::uint64_t region_ = 0;  // the next one to plan
  std::uint64_t window_begin_ = 0, window_end_ = 0;
  std::vector<bool> exists_base_, exists_newer_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::uint64_t taken_ = 0, delivered_ = 0;  // tasks
  bool exhausted_ = false;
  std::map<std::uint64_t, std::vector<RegionChange>> done_;
  ChangeStats stats_;
};

// Librbd takes the base by name. The handle keeps the list of snapshots that it read when it was
// opened, so that the name means the same id in every diff made through it; a base renamed or
// removed since then does not change what it stands for.
Result<std::string> Lister::base_name() const {
  if (base_ == nullptr) return std::string();
  TM_TRY(const auto known, rbd_snapshots(newer_.image.get()));
  const auto found = std::find_if(known.begin(), known.end(),
                                  [&](const SnapshotInfo& s) { return s.id == *base_->snapshot; });
  if (found == known.end()) return Error(ErrorCode::not_found, "the base snapshot is gone");
  if (!found->user) return found->name;  // never compared with by name
  std::uint64_t named = 0;
  const int result = rbd_snap_get_id(newer_.image.get(), found->name.c_str(), &named);
  if (result < 0) return rbd_error(result, "look up the base snapshot");
  if (named != *base_->snapshot) {
    return Error(ErrorCode::refused, "the base snapshot's name belongs to another one");
  }
  return found->name;
}

Status Lister::prepare() {
  std::optional<std::uint64_t> base_id;
  TM_TRY(const std::string id, rbd_image_id(newer_.image.get()));
  if (base_ != nullptr) {
    TM_TRY(const std::string base_image, rbd_image_id(base_->image.get()));
    if (!base_->snapshot || base_image != id || *base_->snapshot > *newer_.snapshot) {
      return Error(ErrorCode::invalid_argument, "the base is no older snapshot of the same image");
    }
    base_id = base_->snapshot;
  }
  TM_TRY(facts_, read_facts(newer_, id, base_id));
  if ((facts_.features & RBD_FEATURE_MIGRATING) != 0) {
    return Error(ErrorCode::refused, "the image is being migrated");
  }
  TM_TRY(layout_, read_layout(newer_.image.get()));
  planner_.emplace(facts_, layout_, options_.region_bytes, facts_.object_maps_usable());
  TM_TRY(std::string name, base_name());
  TM_TRY(inquirer_, Inquirer::make(newer_, facts_, *planner_, layout_, std::move(name),
                                   options_.region_bytes));
  return {};
}

Status Lister::recheck(bool in_full) {
  const auto now = SteadyClock::now();
  if (!in_full && now - checked_ < kRecheck) return {};
  checked_ = now;
  const auto base_id = base_ != nullptr ? base_->snapshot : std::nullopt;
  TM_TRY(const auto facts, read_facts(newer_, facts_.image_id, base_id));
  return check_unchanged(facts_, facts);
}

Status Lister::mark(RbdImage::Impl& image, std::vector<bool>& exists) {
  exists.assign(window_end_ - window_begin_, false);
  if (!planner_->object_maps()) return {};
  return mark_existing(image, options_.region_bytes, window_begin_, exists, halt_.get_token());
}

Status Lister::load_window() {
  // A window ends where a period of stripes does, so that no object is looked up twice.
  const std::uint64_t period = std::max<std::uint64_t>(1, layout_.period() / options_.region_bytes);
  const std::uint64_t regions = std::max(kWindowRegions / period, std::uint64_t{1}) * period;
  window_begin_ = window_end_;
  window_end_ = std::min(window_begin_ + regions, planner_->regions());
  if (base_ != nullptr) TM_DO(mark(*base_, exists_base_));
  return mark(newer_, exists_newer_);
}

Result<Task> Lister::next_task() {
  Task task;
  const auto add = [&](std::uint64_t region, RegionPlan plan) {
    task.emplace_back(region, plan, planner_->length(region), options_.extents_max);
  };
  while (region_ < planner_->regions() && task.size() < kTaskRegions &&
         (task.empty() || region_ - task.front().region < kTaskSpan)) {
    if (region_ == window_end_) TM_DO(load_window());
    const std::size_t at = region_ - window_begin_;
    const RegionPlan plan =
        planner_->plan(region_, base_ != nullptr && exists_base_[at], exists_newer_[at]);
    if (plan.ask != Ask::nothing) {
      const bool bridge = !task.empty() && plan.ask == Ask::since_base &&
                          task.back().ask == Ask::since_base &&
                          region_ - task.back().region <= kBridge;
      // What fills the gap is asked for, so its answer is not thrown away either.
      for (auto gap = bridge ? task.back().region + 1 : region_; gap < region_; ++gap) {
        add(gap, {Ask::since_base});
      }
      add(region_, plan);
    }
    ++region_;
  }
  return task;
}

Status Lister::work_loop() {
  const std::uint64_t ahead = 4 * std::uint64_t{std::max(options_.threads, 1u)};
  for (;;) {
    std::uint64_t number = 0;
    Task task;
    {
      // Numbers are given in the order of regions, so planning and numbering are one step.
      const std::lock_guard planning(planning_);
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] {
          return exhausted_ || halt_.stop_requested() || taken_ < delivered_ + ahead;
        });
        if (exhausted_ || halt_.stop_requested()) return {};
      }
      TM_TRY(task, next_task());
      const std::lock_guard lock(mutex_);
      if (task.empty()) {
        exhausted_ = true;
        changed_.notify_all();
        return {};
      }
      number = taken_++;
      for (const auto& work : task) {
        stats_.regions_listed += work.ask != Ask::all_data && work.ask != Ask::all_zero ? 1 : 0;
      }
    }
    TM_TRY(auto changes, inquirer_->answer(std::move(task), halt_.get_token()));
    const std::lock_guard lock(mutex_);
    done_[number] = std::move(changes);
    changed_.notify_all();
  }
}

Status Lister::deliver_loop() {
  for (;;) {
    std::vector<RegionChange> changes;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        return halt_.stop_requested() || done_.contains(delivered_) ||
               (exhausted_ && delivered_ == taken_);
      });
      if (halt_.stop_requested()) return {};
      if (!done_.contains(delivered_)) return {};
      changes = std::move(done_[delivered_]);
      done_.erase(delivered_);
    }
    TM_DO(recheck(false));
    for (auto& change : changes) {
      if (halt_.stop_requested()) return {};
      TM_DO(each_(std::move(change)));
    }
    const std::lock_guard lock(mutex_);
    stats_.regions_changed += changes.size();
    ++delivered_;
    changed_.notify_all();
  }
}

Status Lister::list() {
  ThreadGroup workers([this] {
    halt_.request_stop();
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  {
    const SignalsBlocked signals;
    for (unsigned i = 0; i < std::max(options_.threads, 1u); ++i) {
      workers.start("tm-changes", [this] { return work_loop(); });
    }
  }
  auto delivered = deliver_loop();
  if (!delivered) workers.fail(std::move(delivered).error());
  return workers.join();
}

Result<ChangeStats> Lister::run(std::stop_token stop) {
  const std::stop_callback forward(stop, [this] {
    halt_.request_stop();
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
  checked_ = SteadyClock::now();
  TM_DO(prepare());
  stats_.object_map_used = planner_->object_maps();
  const bool same = base_ != nullptr && base_->snapshot == newer_.snapshot;
  if (!same) TM_DO(list());
  if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
  // Once a snapshot is removed, the cluster trims what it held, and what is listed after that may
  // lack changes. Librbd takes a snapshot into the trash before it gives up its id, so a snapshot
  // that is still there now was there all the time.
  TM_DO(recheck(true));
  return stats_;
}

}  // namespace

Result<ChangeStats> list_changes(RbdImage& newer, RbdImage* base, const ListChanges& options,
                                 const std::function<Status(RegionChange)>& each,
                                 std::stop_token stop) {
  if (options.region_bytes == 0) {
    return Error(ErrorCode::invalid_argument, "a region needs at least one byte");
  }
  if (!newer.impl().snapshot) {
    return Error(ErrorCode::invalid_argument, "changes are listed between snapshots only");
  }
  Lister lister(newer.impl(), base != nullptr ? &base->impl() : nullptr, options, each);
  auto stats = lister.run(std::move(stop));
  if (!stats) {
    return std::move(stats).error().context("list the changes of " + newer.impl().text());
  }
  return stats;
}

}  // namespace tidemark
