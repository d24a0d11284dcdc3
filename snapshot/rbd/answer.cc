#include "snapshot/rbd/answer.h"

#include <algorithm>

#include "base/assert.h"
#include "snapshot/rbd/diff.h"

namespace tidemark {

Result<std::unique_ptr<Inquirer>> Inquirer::make(RbdImage::Impl& newer, const ImageFacts& facts,
                                                 const RegionPlanner& planner,
                                                 const ObjectLayout& layout, std::string base_name,
                                                 std::uint32_t region_bytes) {
  std::unique_ptr<Inquirer> inquirer(
      new Inquirer(newer, planner, layout, std::move(base_name), region_bytes));
  TM_TRY(inquirer->ancestors_, open_ancestors(newer));
  if (facts.base && facts.newer.parent.overlap > 0) {
    TM_TRY(inquirer->probe_base_, ObjectProbe::open(newer, facts.base->id));
    TM_TRY(inquirer->probe_newer_, ObjectProbe::open(newer, facts.newer.id));
  }
  return inquirer;
}

// Turns every Ask::probe into one of the other questions.
Status Inquirer::probe(Task& task) const {
  std::vector<std::uint64_t> objects;
  const auto objects_of = [&](const Work& work) {
    return layout_.objects_of(work.region * region_bytes_, planner_.length(work.region));
  };
  for (const auto& work : task) {
    if (work.ask != Ask::probe) continue;
    const auto more = objects_of(work);
    objects.insert(objects.end(), more.begin(), more.end());
  }
  if (objects.empty()) return {};
  std::sort(objects.begin(), objects.end());
  objects.erase(std::unique(objects.begin(), objects.end()), objects.end());
  TM_TRY(const auto at_base, probe_base_->exist(objects));
  TM_TRY(const auto at_newer, probe_newer_->exist(objects));
  for (auto& work : task) {
    if (work.ask != Ask::probe) continue;
    bool any = false, differs = false;
    for (const auto object : objects_of(work)) {
      const auto i = static_cast<std::size_t>(
          std::lower_bound(objects.begin(), objects.end(), object) - objects.begin());
      any = any || at_newer[i];
      differs = differs || at_base[i] != at_newer[i];
      work.shows_parent = work.shows_parent || !at_newer[i];
    }
    work.ask = differs ? Ask::from_start : any ? Ask::since_base : Ask::nothing;
    work.keep_empty = differs;
  }
  return {};
}

// For task[first..last], of which those of `kind` take the answer. What may be seen of an image
// from its beginning is what it holds and what its ancestors hold; that an object of its own may
// hide theirs is not looked at, which costs a read and no change. The oldest is asked first: an
// ancestor can go while this runs once what it held was copied into its child, and the child, asked
// later, then tells of it.
Status Inquirer::ask_run(Task& task, std::size_t first, std::size_t last, Ask kind,
                         const std::stop_token& stop) const {
  const std::uint64_t region_bytes = region_bytes_;
  const bool from_start = kind == Ask::from_start;
  const auto sink = [&](std::uint64_t offset, std::uint64_t size, bool zero) {
    if (zero && from_start) return;  // an object that is gone, where a parent's data may show
    const std::uint64_t end = offset + size;
    auto work =
        std::lower_bound(task.begin(), task.end(), offset / region_bytes,
                         [](const Work& w, std::uint64_t region) { return w.region < region; });
    for (; work != task.end() && work->region * region_bytes < end; ++work) {
      if (work->ask != kind) continue;
      const std::uint64_t start = work->region * region_bytes;
      const std::uint64_t from = std::max(offset, start);
      const std::uint64_t to = std::min(end, start + planner_.length(work->region));
      if (from >= to) continue;
      work->overlay.add(static_cast<std::uint32_t>(from - start),
                        static_cast<std::uint32_t>(to - from), zero);
    }
  };
  const std::uint64_t begin = task[first].region * region_bytes;
  const std::uint64_t end = task[last].region * region_bytes + planner_.length(task[last].region);
  for (auto ancestor = ancestors_.rbegin(); from_start && ancestor != ancestors_.rend();
       ++ancestor) {
    const std::uint64_t shown_end = std::min(end, ancestor->shown_bytes);
    if (begin >= shown_end) continue;
    TM_DO(list_extents(*ancestor->image, nullptr, {begin, shown_end - begin}, sink, stop));
  }
  return list_extents(newer_, from_start ? nullptr : base_name_.c_str(), {begin, end - begin}, sink,
                      stop);
}

Status Inquirer::ask(Task& task, Ask kind, const std::stop_token& stop) const {
  for (std::size_t i = 0; i < task.size(); ++i) {
    if (task[i].ask != kind) continue;
    std::size_t last = i;
    for (std::size_t j = i + 1; j < task.size() && task[j].region - task[last].region <= kBridge;
         ++j) {
      if (task[j].ask == kind) last = j;
    }
    TM_DO(ask_run(task, i, last, kind, stop));
    i = last;
  }
  return {};
}

// What the exact differences leave open.
void Inquirer::judge(Task& task) const {
  for (auto& work : task) {
    if (work.ask != Ask::since_base) continue;
    if (work.shows_parent && work.overlay.has_zero_below(planner_.parent_bytes(work.region))) {
      // An object came and went: what is called zeros here may be the parent's data.
      work.ask = Ask::from_start;
      work.keep_empty = true;
      work.overlay.clear();
    } else if (const auto beyond = planner_.beyond_base(work.region)) {
      work.overlay.add(beyond->offset, beyond->size, beyond->zero);
    }
  }
}

RegionChange Inquirer::change_of(Work& work) const {
  RegionChange change{work.region, false, {}};
  const std::uint32_t length = planner_.length(work.region);
  switch (work.ask) {
    case Ask::nothing:
      break;
    case Ask::all_data:
      change.whole = true;
      change.extents = {{0, length, false}};
      break;
    case Ask::all_zero:
      change.extents = {{0, length, true}};
      break;
    case Ask::from_start:
      change.whole = true;
      change.extents = work.overlay.take();
      break;
    case Ask::since_base:
      change.extents = work.overlay.take();
      change.whole = work.overlay.collapsed();
      break;
    case Ask::probe:
      TM_CHECK(false);
  }
  return change;
}

Result<std::vector<RegionChange>> Inquirer::answer(Task task, const std::stop_token& stop) const {
  TM_DO(probe(task));
  TM_DO(ask(task, Ask::since_base, stop));
  judge(task);
  TM_DO(ask(task, Ask::from_start, stop));
  std::vector<RegionChange> changes;
  for (auto& work : task) {
    auto change = change_of(work);
    if (!change.extents.empty() || work.keep_empty) changes.push_back(std::move(change));
  }
  return changes;
}

}  // namespace tidemark
