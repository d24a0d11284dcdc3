// Writes what points reach out of packs that are mostly dead into new ones
// (docs/decisions/0011-repacking.md).
//
// Nothing is removed here. The new pack is durable before the catalog takes it for the place of
// what is in it; the old one has nothing reached in it from then on, and goes as any such pack
// does. Until then both hold the same, and a catalog that is rebuilt may take either.
#pragma once

#include <vector>

#include "agent/service/store_service.h"
#include "store/pack.h"

namespace tidemark {

class ReachedSet;

// Used by one thread, once, while the store tracks what sessions are handed. Memory: one old pack,
// twice what is reached in it, and a new pack each for chunks and for nodes.
class Repacker {
 public:
  // All must outlive it.
  Repacker(StoreService& store, const StoreKeys& keys, const ReachedSet& reached)
      : store_(store), keys_(keys), reached_(reached), chunks_(keys), nodes_(keys) {}

  // Reads a pack, checks it and takes over what is reached in it. False where it is left as it is:
  // it is damaged or gone, or this run has read enough.
  Result<bool> take(const PackId& id, std::uint64_t size_bytes);
  // Writes what was taken and is not written yet.
  Status finish();

 private:
  struct NewPack {
    explicit NewPack(const StoreKeys& keys) : writer(keys) {}
    PackWriter writer;
    std::vector<PackId> from;
  };
  // What is reached of a pack and lies there by the catalog, opened; `corruption` where any of it
  // is damaged.
  Result<std::vector<EncodedBlob>> open(const PackId& id, ByteView pack);
  Status add(const PackId& id, const EncodedBlob& blob);
  Status write(NewPack& pack);

  StoreService& store_;
  const StoreKeys& keys_;
  const ReachedSet& reached_;
  NewPack chunks_, nodes_;  // nodes lie in packs of their own
  std::uint64_t read_bytes_ = 0;
};

}  // namespace tidemark
