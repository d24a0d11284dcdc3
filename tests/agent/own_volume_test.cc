// Volumes of ceph-csi that we make ourselves.
#include "agent/kube/own_volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/kube/csi_journal.h"

namespace tidemark::test {
namespace {

using nlohmann::json;

constexpr const char* kUuid = "5a3c1a34-6a5b-11ee-9b2f-0242ac110002";

json storage_class() {
  return json::parse(R"({"provisioner": "rook-ceph.rbd.csi.ceph.com", "mountOptions": ["discard"],
    "parameters": {"clusterID": "osaka", "pool": "fast",
      "csi.storage.k8s.io/fstype": "xfs",
      "csi.storage.k8s.io/node-stage-secret-name": "of-${pvc.name}-${pv.name}",
      "csi.storage.k8s.io/node-stage-secret-namespace": "${pvc.namespace}"}})");
}

json claim_spec(const char* mode = "Filesystem") {
  return {{"accessModes", {"ReadWriteOnce"}},
          {"volumeMode", mode},
          {"storageClassName", "block"},
          {"resources", {{"requests", {{"storage", "2Gi"}}}}}};
}

json volume_that_was() {
  json volume = json::parse(R"({"metadata": {"name": "pvc-1"}, "spec": {
    "persistentVolumeReclaimPolicy": "Delete", "csi": {
      "driver": "rook-ceph.rbd.csi.ceph.com", "fsType": "ext4", "volumeAttributes": {
        "clusterID": "tokyo", "pool": "slow", "journalPool": "slow", "dataPool": "ec",
        "imageFeatures": "layering", "encrypted": "true", "encryptionKMSID": "vault"}}}})");
  volume["spec"]["csi"]["volumeHandle"] =
      VolumeHandle{.cluster_id = "tokyo", .pool_id = 3, .uuid = kUuid}.text();
  return volume;
}

class OwnVolumeTest : public ::testing::Test {
 protected:
  VolumeMaking making(const json* was, const char* mode = "Filesystem") {
    return {.claim = {ClaimName::Kind::volume, "shop", "orders"},
            .claim_spec = claim_spec(mode),
            .storage_class = &class_,
            .was = was,
            .rados_namespaces = {{"osaka", "tenant"}}};
  }
  json class_ = storage_class();
  const json was_ = volume_that_was();
};

TEST_F(OwnVolumeTest, AStaticOneIsReservedForItsClaimAndRetained) {
  const OwnVolume own = static_volume(making(nullptr), "v1");
  EXPECT_EQ(own.image.text(), "fast/tenant/v1");
  EXPECT_TRUE(own.uuid.empty());
  const json& spec = own.object["spec"];
  EXPECT_EQ(spec["claimRef"]["namespace"], "shop");
  EXPECT_EQ(spec["claimRef"]["name"], "orders");
  EXPECT_FALSE(spec["claimRef"].contains("uid"));
  EXPECT_EQ(spec["persistentVolumeReclaimPolicy"], "Retain");
  EXPECT_EQ(own.reclaim_policy, "Retain");
  EXPECT_EQ(spec["capacity"]["storage"], "2Gi");
  EXPECT_EQ(spec["mountOptions"], json::array({"discard"}));
  EXPECT_EQ(spec["csi"]["fsType"], "xfs");
  EXPECT_EQ(spec["csi"]["volumeHandle"], "v1");
  EXPECT_EQ(spec["csi"]["volumeAttributes"]["staticVolume"], "true");
}

TEST_F(OwnVolumeTest, SecretsAreNamedAsTheClassWritesThem) {
  const OwnVolume own = static_volume(making(nullptr), "v1");
  EXPECT_EQ(own.object["spec"]["csi"]["nodeStageSecretRef"],
            (json{{"name", "of-orders-v1"}, {"namespace", "shop"}}));
  EXPECT_FALSE(own.object["spec"]["csi"].contains("controllerExpandSecretRef"));
}

TEST_F(OwnVolumeTest, TheFileSystemIsTheOneThatTheDataHas) {
  const OwnVolume own = static_volume(making(&was_), "v1");
  EXPECT_EQ(own.object["spec"]["csi"]["fsType"], "ext4");
  const OwnVolume block = static_volume(making(&was_, "Block"), "v1");
  EXPECT_FALSE(block.object["spec"]["csi"].contains("fsType"));
}

TEST_F(OwnVolumeTest, AStaticOneOfAnEncryptedVolumeSaysSo) {
  const OwnVolume own = static_volume(making(&was_), "v1");
  EXPECT_EQ(own.object["spec"]["csi"]["volumeAttributes"]["encrypted"], "true");
  EXPECT_EQ(own.object["spec"]["csi"]["volumeAttributes"]["encryptionKMSID"], "vault");
}

TEST_F(OwnVolumeTest, TheSameOneHasTheIdsOfThisCluster) {
  const auto own = same_volume(making(&was_), 17);
  ASSERT_TRUE(own.has_value()) << own.error().describe();
  EXPECT_EQ(own->object["metadata"]["name"], "pvc-1");
  EXPECT_EQ(own->image.text(), std::string("fast/tenant/csi-vol-") + kUuid);
  EXPECT_EQ(own->reclaim_policy, "Delete");
  EXPECT_EQ(own->kms, "vault");
  const json& csi = own->object["spec"]["csi"];
  const auto handle = parse_volume_handle(csi["volumeHandle"].get<std::string>());
  EXPECT_EQ(handle, (VolumeHandle{.cluster_id = "osaka", .pool_id = 17, .uuid = kUuid}));
  EXPECT_EQ(csi["volumeAttributes"]["clusterID"], "osaka");
  EXPECT_EQ(csi["volumeAttributes"]["pool"], "fast");
  EXPECT_EQ(csi["volumeAttributes"]["journalPool"], "fast");
  EXPECT_EQ(csi["volumeAttributes"]["radosNamespace"], "tenant");
  EXPECT_FALSE(csi["volumeAttributes"].contains("dataPool"));
  EXPECT_EQ(csi["volumeAttributes"]["imageFeatures"], "layering");
}

TEST_F(OwnVolumeTest, AVolumeWithoutAnIdentityIsRefused) {
  json fixed = was_;
  fixed["spec"]["csi"]["volumeHandle"] = "some-image";
  json other = was_;
  other["spec"]["csi"]["driver"] = "rook-ceph.cephfs.csi.ceph.com";
  json marked = was_;
  marked["spec"]["csi"]["volumeAttributes"]["staticVolume"] = "true";
  for (const json* was : {static_cast<const json*>(nullptr), &std::as_const(fixed),
                          &std::as_const(other), &std::as_const(marked)}) {
    const auto own = same_volume(making(was), 17);
    ASSERT_FALSE(own.has_value());
    EXPECT_EQ(own.error().code(), ErrorCode::unsupported);
  }
}

TEST(CsiJournalTest, AnEntryNamesVolumeAndImageAndWhatOpensIt) {
  CsiReservation reservation;
  reservation.uuid = kUuid;
  reservation.volume = "pvc-1";
  reservation.image = {"fast", "", std::string("csi-vol-") + kUuid};
  using Entry = std::map<std::string, std::string>;
  EXPECT_EQ(journal_entry(reservation),
            (Entry{{"csi.volname", "pvc-1"}, {"csi.imagename", reservation.image.image}}));
  reservation.kms = "vault";
  reservation.owner = "shop";
  reservation.image_id = "1f";
  EXPECT_EQ(journal_entry(reservation), (Entry{{"csi.volname", "pvc-1"},
                                               {"csi.imagename", reservation.image.image},
                                               {"csi.imageid", "1f"},
                                               {"csi.volume.owner", "shop"},
                                               {"csi.volume.encryptKMS", "vault"},
                                               {"csi.volume.encryptionType", "block"}}));
}

}  // namespace
}  // namespace tidemark::test
