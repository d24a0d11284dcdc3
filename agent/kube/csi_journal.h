// The notes by which ceph-csi finds the image of a volume that it made, in the image's pool.
//
// Two objects with names and values: "csi.volumes.default" has, for each volume by the name that
// Kubernetes asked for it with, its uuid; "csi.volume.<uuid>" has that name and the image's. A
// volume handle holds the uuid and nothing else of the image, so that a volume of the same identity
// in another cluster works only with these. Format: https://github.com/ceph/ceph-csi,
// internal/journal/voljournal.go (releases 3.x).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "snapshot/rbd/image.h"

namespace tidemark {

struct CsiReservation {
  std::string uuid;
  std::string volume;  // the PersistentVolume, which has the name that was asked for
  RbdImageName image;
  std::string owner;     // the claim's namespace
  std::string kms;       // whose key opens an encrypted one; empty: it is not encrypted
  std::string image_id;  // librbd's
  bool operator==(const CsiReservation&) const = default;
};

// What "csi.volume.<uuid>" says.
std::map<std::string, std::string> journal_entry(const CsiReservation& reservation);

// Written where nothing stands, and left where the same does. `already_exists` where the uuid or
// the volume's name is another one's.
Status reserve_volume(CephCluster& cluster, const CsiReservation& reservation);

}  // namespace tidemark
