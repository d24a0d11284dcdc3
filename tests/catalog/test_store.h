// A small real store on any backend: packs with trees and chunks, point records, marks.
#pragma once

#include "store/backend.h"
#include "store/tree.h"
#include "support.h"

namespace tidemark {

class TestStore {
 public:
  // `backend` must outlive the store.
  explicit TestStore(Backend& backend) : backend_(backend) {}

  // Adds a point whose tree has this many entries, of which the first `shared` are those of every
  // other point; chunks and nodes go into packs of their own.
  PointRow add_point(std::string asset, Timestamp time, std::size_t entries,
                     std::size_t shared = 0);
  // Puts a mark as the store service does.
  void mark(const PointId& point, std::string_view suffix, Timestamp when);

  const std::vector<PointRow>& points() const { return points_; }
  const std::vector<PackId>& chunk_packs() const { return chunk_packs_; }
  const std::vector<PackId>& node_packs() const { return node_packs_; }
  std::size_t packs() const { return chunk_packs_.size() + node_packs_.size(); }
  const std::vector<ChunkId>& nodes() const { return nodes_; }

 private:
  PackId put(PackWriter& writer);

  Backend& backend_;
  StoreKeys keys_{SecretKey(nth<Digest>(5).view())};
  std::vector<PointRow> points_;
  std::vector<PackId> chunk_packs_, node_packs_;
  std::vector<ChunkId> nodes_;
};

}  // namespace tidemark
