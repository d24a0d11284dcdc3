// What a comparison of two snapshots depends on, read from the cluster at its start and again at
// its end: if any of it changed in between, the result is void.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "snapshot/rbd/librbd.h"

namespace tidemark {

struct SnapshotFacts {
  std::uint64_t id = 0;
  std::string name;
  std::uint64_t size = 0;
  bool user = true;
  std::uint64_t flags = 0;
  RbdParent parent;
};

struct ImageFacts {
  std::string image_id;
  std::uint64_t features = 0;
  std::uint64_t head_flags = 0;
  SnapshotFacts newer;
  std::optional<SnapshotFacts> base;

  // The object maps of the head and of both snapshots are there and not flagged invalid.
  bool object_maps_usable() const;
};

// Reads the facts through a handle of its own: librbd's handles at a snapshot keep what they saw
// when they were opened. `not_found` where the image or a snapshot is gone or going.
Result<ImageFacts> read_facts(RbdImage::Impl& newer, const std::string& image_id,
                              std::optional<std::uint64_t> base_id);

// An error where `now` differs from what the listing was based on.
Status check_unchanged(const ImageFacts& before, const ImageFacts& now);

}  // namespace tidemark
