#include "agent/kube/csi_journal.h"

#include "snapshot/rbd/omap.h"

namespace tidemark {
namespace {

constexpr const char* kDirectory = "csi.volumes.default";
constexpr const char* kVolumePrefix = "csi.volume.";
constexpr const char* kNameKey = "csi.volname";
constexpr const char* kImageKey = "csi.imagename";

}  // namespace

std::map<std::string, std::string> journal_entry(const CsiReservation& reservation) {
  std::map<std::string, std::string> entry = {{kNameKey, reservation.volume},
                                              {kImageKey, reservation.image.image}};
  if (!reservation.image_id.empty()) entry["csi.imageid"] = reservation.image_id;
  if (!reservation.owner.empty()) entry["csi.volume.owner"] = reservation.owner;
  if (!reservation.kms.empty()) {
    entry["csi.volume.encryptKMS"] = reservation.kms;
    entry["csi.volume.encryptionType"] = "block";
  }
  return entry;
}

Status reserve_volume(CephCluster& cluster, const CsiReservation& reservation) {
  const auto object = [&](const std::string& name) {
    return RadosObject{reservation.image.pool, reservation.image.ns, name};
  };
  const RadosObject directory = object(kDirectory);
  const RadosObject volume = object(kVolumePrefix + reservation.uuid);
  const std::string name = kVolumePrefix + reservation.volume;
  TM_TRY(const auto volumes, read_omap(cluster, directory));
  const auto known = volumes.find(name);
  if (known != volumes.end() && known->second != reservation.uuid)
    return Error(ErrorCode::already_exists, "ceph-csi knows volume " + reservation.volume +
                                                " with another image in pool " +
                                                reservation.image.pool);
  TM_TRY(const auto entry, read_omap(cluster, volume));
  for (const auto& [key, value] :
       {std::pair(kNameKey, reservation.volume), std::pair(kImageKey, reservation.image.image)})
    if (const auto found = entry.find(key); found != entry.end() && found->second != value)
      return Error(ErrorCode::already_exists,
                   "ceph-csi has uuid " + reservation.uuid + " for " + found->second);
  // In the order of ceph-csi: a directory never names a uuid that says nothing.
  TM_DO(write_omap(cluster, volume, journal_entry(reservation)));
  return write_omap(cluster, directory, {{name, reservation.uuid}});
}

}  // namespace tidemark
