// Mends a store after damage: what is whole in damaged packs is saved, the packs are set
// aside, records are written again from the catalog.
#pragma once

#include <stop_token>

#include "agent/service/store_service.h"

namespace tidemark {

struct RepairReport {
  std::size_t packs_set_aside = 0;  // now; earlier ones are not counted
  std::size_t blobs_saved = 0;
  std::size_t packs_healed = 0;  // whole again, from the copy
};

// Reads every pack of the catalog, not only those where damage was met: below a damaged node nobody
// looks. A pack whose bytes do not match its name is set aside; each of its blobs that still opens
// and matches its id is written into a new pack first thing after that. What cannot be saved counts
// as absent then, and the next full backup of an asset sends it again. An interrupted run is gone
// on with by the next one. Errors are those that kept it from going on: a pack that cannot be read
// for another reason than damage ends it.
// `copy`: another store, or a copy of this one, that may hold the same packs; null: there is none.
// A pack is named after its bytes, so whatever the copy has under that name is either right or
// passed over.
Result<RepairReport> repair_packs(StoreService& store, const StoreKeys& keys, Backend* copy,
                                  const std::stop_token& stop);

// What of a pack that was set aside still opens and matches its id, and lies nowhere else, is
// written into new packs. `pack`: as many of its bytes as could be read. How many blobs were saved.
Result<std::size_t> save_whole_blobs(StoreService& store, const StoreKeys& keys, const Bytes& pack);

// Holds the records of these points on the backend against the catalog's copies, and writes one
// anew where `mend` is set and the copy is sound. What was found damaged or gone.
Result<std::vector<DamagedRecord>> check_records(StoreService& store,
                                                 const std::vector<PointRow>& points, bool mend);

}  // namespace tidemark
