#include "snapshot/rbd/plan.h"

#include <gtest/gtest.h>

namespace tidemark {
namespace {

constexpr std::uint32_t kRegion = 4 << 20;
constexpr ObjectLayout kPlain{kRegion, kRegion, 1};

ImageFacts facts(std::uint64_t base_regions, std::uint64_t newer_regions) {
  ImageFacts facts;
  facts.newer.size = newer_regions * kRegion;
  facts.base.emplace();
  facts.base->size = base_regions * kRegion;
  return facts;
}

RbdParent parent_over(std::uint64_t regions) {
  RbdParent parent;
  parent.identity = "p";
  parent.overlap = regions * kRegion;
  return parent;
}

void set_parents(ImageFacts& facts, std::uint64_t base_overlap, std::uint64_t newer_overlap) {
  facts.base->parent = parent_over(base_overlap);
  facts.newer.parent = parent_over(newer_overlap);
}

TEST(RegionPlannerTest, WithoutAParentAsksOnlyWhereObjectsExist) {
  const RegionPlanner planner(facts(8, 8), kPlain, kRegion, true);
  EXPECT_EQ(planner.plan(0, false, false).ask, Ask::nothing);
  EXPECT_EQ(planner.plan(0, true, true).ask, Ask::since_base);
  EXPECT_EQ(planner.plan(0, false, true).ask, Ask::from_start);
  EXPECT_EQ(planner.plan(0, true, false).ask, Ask::all_zero);
}

TEST(RegionPlannerTest, WithoutObjectMapsAsksAboutEverything) {
  const RegionPlanner planner(facts(8, 10), kPlain, kRegion, false);
  for (std::uint64_t region = 0; region < 8; ++region) {
    EXPECT_EQ(planner.plan(region, false, false).ask, Ask::since_base);
  }
  EXPECT_EQ(planner.plan(8, false, false).ask, Ask::from_start);
}

TEST(RegionPlannerTest, InTheOverlapExistenceIsProbed) {
  auto clone = facts(8, 8);
  set_parents(clone, 4, 4);
  const RegionPlanner with_maps(clone, kPlain, kRegion, true);
  EXPECT_EQ(with_maps.plan(3, true, true).ask, Ask::probe);
  EXPECT_EQ(with_maps.plan(3, false, false).ask, Ask::nothing);
  EXPECT_EQ(with_maps.plan(3, true, false).ask, Ask::from_start);
  EXPECT_TRUE(with_maps.plan(3, true, false).keep_empty);
  EXPECT_EQ(with_maps.plan(4, true, false).ask, Ask::all_zero);
  const RegionPlanner without_maps(clone, kPlain, kRegion, false);
  EXPECT_EQ(without_maps.plan(3, false, false).ask, Ask::probe);
  EXPECT_EQ(without_maps.plan(4, false, false).ask, Ask::since_base);
}

TEST(RegionPlannerTest, ALostOverlapIsAlwaysReported) {
  auto clone = facts(8, 8);
  set_parents(clone, 6, 2);
  const RegionPlanner planner(clone, kPlain, kRegion, true);
  for (std::uint64_t region = 2; region < 6; ++region) {
    EXPECT_EQ(planner.plan(region, false, false).ask, Ask::from_start);
    EXPECT_TRUE(planner.plan(region, false, false).keep_empty);
  }
  EXPECT_EQ(planner.plan(1, false, false).ask, Ask::nothing);
  EXPECT_EQ(planner.plan(6, false, false).ask, Ask::nothing);
}

TEST(RegionPlannerTest, AnotherParentVoidsTheWholeOverlap) {
  auto clone = facts(8, 8);
  set_parents(clone, 4, 4);
  clone.newer.parent.identity = "q";
  const RegionPlanner planner(clone, kPlain, kRegion, true);
  EXPECT_TRUE(planner.plan(0, false, false).keep_empty);
  EXPECT_TRUE(planner.plan(3, false, false).keep_empty);
  EXPECT_FALSE(planner.plan(4, false, false).keep_empty);
}

TEST(RegionPlannerTest, WhatLiesBehindTheBasesEndCountsAsUnknown) {
  auto grown = facts(2, 4);
  grown.base->size += 1000;  // cuts region 2
  const RegionPlanner planner(grown, kPlain, kRegion, true);
  EXPECT_EQ(planner.beyond_base(1), std::nullopt);
  EXPECT_EQ(planner.beyond_base(2), (ChangedExtent{1000, kRegion - 1000, false}));
  EXPECT_EQ(planner.beyond_base(3), std::nullopt);
  EXPECT_EQ(planner.plan(3, true, true).ask, Ask::from_start);
}

TEST(RegionPlannerTest, TheLastRegionIsCutByTheSize) {
  auto cut = facts(2, 2);
  cut.newer.size += 1;
  const RegionPlanner planner(cut, kPlain, kRegion, true);
  EXPECT_EQ(planner.regions(), 3u);
  EXPECT_EQ(planner.length(1), kRegion);
  EXPECT_EQ(planner.length(2), 1u);
}

TEST(RegionPlannerTest, TheFirstListingTakesWholeObjectsWhereThatIsAllThereIs) {
  auto first = facts(0, 8);
  first.base.reset();
  first.newer.parent = parent_over(2);
  const RegionPlanner planner(first, kPlain, kRegion, true);
  EXPECT_EQ(planner.plan(0, false, false).ask, Ask::from_start);  // the parent's
  EXPECT_EQ(planner.plan(2, false, true).ask, Ask::all_data);
  EXPECT_EQ(planner.plan(2, false, false).ask, Ask::nothing);
  const ObjectLayout small{65536, 65536, 1};
  EXPECT_EQ(RegionPlanner(first, small, kRegion, true).plan(2, false, true).ask, Ask::from_start);
}

TEST(RegionPlannerTest, ABaseThatIsNoUsersSnapshotIsNotComparedWith) {
  auto group = facts(8, 8);
  group.base->user = false;
  const RegionPlanner planner(group, kPlain, kRegion, true);
  EXPECT_EQ(planner.plan(0, true, true).ask, Ask::from_start);
  EXPECT_TRUE(planner.plan(0, true, false).keep_empty);
  EXPECT_EQ(planner.plan(0, false, false).ask, Ask::nothing);
}

TEST(ObjectLayoutTest, FindsTheObjectsOfARange) {
  using Objects = std::vector<std::uint64_t>;
  EXPECT_EQ(kPlain.objects_of(kRegion - 1, 2), (Objects{0, 1}));
  EXPECT_EQ(kPlain.objects_of(5 * kRegion, 0), Objects{});
  // Two units of 64 KiB in an object, three objects side by side: 0 1 2 0 1 2 | 3 4 5 3 4 5.
  const ObjectLayout striped{128 << 10, 64 << 10, 3};
  EXPECT_EQ(striped.period(), 384u << 10);
  EXPECT_EQ(striped.objects_of(0, 64 << 10), Objects{0});
  EXPECT_EQ(striped.objects_of(192 << 10, 1), Objects{0});
  EXPECT_EQ(striped.objects_of(0, 384 << 10), (Objects{0, 1, 2}));
  EXPECT_EQ(striped.objects_of((384 << 10) - 1, 2), (Objects{2, 3}));
}

}  // namespace
}  // namespace tidemark
