// Snapshots of ours that no policy has a use for any more: of an image that is not protected now,
// or for a store that its points do not go to any more. They pin the image's old data, so they go,
// after a while in which the configuration can be put right.
#pragma once

#include <functional>
#include <optional>

#include "agent/site/source_book.h"
#include "base/clock.h"
#include "config/config.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

struct OrphanSweep {
  std::uint64_t removed = 0;   // entries of the book whose snapshots are gone
  std::uint64_t unwanted = 0;  // entries that wait for their time
};

// Looks through `book` and removes what has been unwanted for as long as the configuration says.
// `wanted` says whether a policy sends points of the asset to the store of that name; nothing where
// that is not known yet. `claim_gone` says of an asset that was found by its claim that there is no
// such claim any more: then its snapshots go at once, since the provisioner cannot delete an image
// that has any. Only snapshots named as ours for exactly that store are touched, and none
// while a backup of the asset runs. A cluster or an image that does not answer leaves its entry for
// the next time. Used by one thread.
Result<OrphanSweep> sweep_orphans(
    SourceBook& book, const Config& config, Clock& clock,
    const std::function<std::optional<bool>(const std::string& asset, const std::string& to)>&
        wanted,
    const std::function<bool(const std::string& asset)>& claim_gone,
    const std::function<Result<std::shared_ptr<CephCluster>>()>& cluster);

}  // namespace tidemark
