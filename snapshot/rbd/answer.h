// Puts the questions of a plan to the cluster, for a handful of regions at a time, and turns what
// comes back into RegionChanges.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "snapshot/rbd/ancestors.h"
#include "snapshot/rbd/changes.h"
#include "snapshot/rbd/extents.h"
#include "snapshot/rbd/objects.h"
#include "snapshot/rbd/plan.h"

namespace tidemark {

// Regions that need no answer are asked about all the same where they fill a gap below this: one
// call for a longer range costs less than two calls.
inline constexpr std::uint64_t kBridge = 2;

// A region and what is to be found out about it.
struct Work {
  Work(std::uint64_t region_number, RegionPlan plan, std::uint32_t length, std::size_t extents_max)
      : region(region_number),
        ask(plan.ask),
        keep_empty(plan.keep_empty),
        overlay(length, extents_max) {}

  std::uint64_t region;
  Ask ask;
  bool keep_empty;
  bool shows_parent = false;  // an object is missing at the new snapshot: the parent's data is seen
  ExtentOverlay overlay;
};
// Ascending regions.
using Task = std::vector<Work>;

// Safe from several threads. What it is made of must outlive it.
class Inquirer {
 public:
  // `base_name`: what the handle `newer` calls the base; empty where there is none.
  static Result<std::unique_ptr<Inquirer>> make(RbdImage::Impl& newer, const ImageFacts& facts,
                                                const RegionPlanner& planner,
                                                const ObjectLayout& layout, std::string base_name,
                                                std::uint32_t region_bytes);

  Result<std::vector<RegionChange>> answer(Task task, const std::stop_token& stop) const;

 private:
  Inquirer(RbdImage::Impl& newer, const RegionPlanner& planner, const ObjectLayout& layout,
           std::string base_name, std::uint32_t region_bytes)
      : newer_(newer),
        planner_(planner),
        layout_(layout),
        base_name_(std::move(base_name)),
        region_bytes_(region_bytes) {}

  Status probe(Task& task) const;
  Status ask(Task& task, Ask kind, const std::stop_token& stop) const;
  Status ask_run(Task& task, std::size_t first, std::size_t last, Ask kind,
                 const std::stop_token& stop) const;
  void judge(Task& task) const;
  RegionChange change_of(Work& work) const;

  RbdImage::Impl& newer_;
  const RegionPlanner& planner_;
  const ObjectLayout& layout_;
  const std::string base_name_;
  const std::uint32_t region_bytes_;
  // For clones only.
  std::vector<Ancestor> ancestors_;
  std::unique_ptr<ObjectProbe> probe_base_, probe_newer_;
};

}  // namespace tidemark
