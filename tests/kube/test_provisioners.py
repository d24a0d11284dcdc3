"""Claims and bucket claims against a real Ceph: images and buckets come, are used, and go."""

import base64
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lab"))

import boto3  # noqa: E402
import botocore.exceptions  # noqa: E402
import cluster  # noqa: E402
import replay  # noqa: E402
from harness import Harness, wait_for  # noqa: E402

SHOP = "/api/v1/namespaces/shop"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/apis/objectbucket.io/v1alpha1/namespaces/shop/objectbucketclaims"
BUCKETS = "/apis/objectbucket.io/v1alpha1/objectbuckets"
SLOW = 60.0


def claim(name, size="8Mi", mode="Filesystem"):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "rook-ceph-block",
                     "volumeMode": mode, "resources": {"requests": {"storage": size}}}}


class ProvisionersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="kube-ceph-")
        cls.ceph = cluster.Cluster(os.path.join(cls.folder.name, "ceph"), "kube").start(
            rgw=True, objectstore="memstore")
        cls.user = cls.ceph.create_s3_user("somebody")
        cls.kube = Harness("--ceph-conf", cls.ceph.conf, "--rgw-endpoint",
                           cls.user["endpoint"], "--manifest", os.path.join(HERE, "buckets.yaml"))
        cls.kube.namespace("shop")
        block = replay.recorded(40)[0].json
        block["parameters"]["pool"] = "rbd"
        cls.kube.make(CLASSES, block)
        cls.kube.make(CLASSES, replay.recorded(181)[0].json)

    @classmethod
    def tearDownClass(cls):
        cls.kube.close()
        cls.ceph.destroy()
        cls.folder.cleanup()

    def rbd(self, *arguments):
        return subprocess.run(["rbd", "--conf", self.ceph.conf, *arguments], check=True,
                              capture_output=True, text=True).stdout

    def bound(self, name):
        return wait_for(lambda: self.phase(f"{SHOP}/persistentvolumeclaims/{name}", "Bound"),
                        f"{name} is bound", SLOW)

    def phase(self, path, wanted):
        found = self.kube.admin.get(path)
        return found.json if found.code == 200 and found.json.get("status", {}).get(
            "phase") == wanted else None

    def test_a_claim_gets_an_image_of_its_size_and_a_volume_that_names_it(self):
        self.kube.make(f"{SHOP}/persistentvolumeclaims", claim("data", "10Mi"))
        volume = self.kube.admin.get("/api/v1/persistentvolumes/"
                                     + self.bound("data")["spec"]["volumeName"]).json
        csi = volume["spec"]["csi"]
        wanted = replay.recorded(45)[1].json
        self.assertEqual(set(csi), set(wanted["spec"]["csi"]))
        self.assertEqual(set(csi["volumeAttributes"]), set(wanted["spec"]["csi"]["volumeAttributes"]))
        self.assertEqual(set(volume["metadata"]), set(wanted["metadata"]))
        image = csi["volumeAttributes"]["imageName"]
        ident = image[len("csi-vol-"):]
        self.assertRegex(csi["volumeHandle"], rf"^0001-0009-rook-ceph-[0-9a-f]{{16}}-{ident}$")
        self.assertIn("size 10 MiB", self.rbd("info", f"rbd/{image}"))
        self.kube.admin.delete(f"{SHOP}/persistentvolumeclaims/data")
        path = f"/api/v1/persistentvolumes/{volume['metadata']['name']}"
        wait_for(lambda: self.kube.admin.get(path).code == 404, "the volume is gone", SLOW)
        self.assertNotIn(image, self.rbd("ls", "rbd").split())

    def test_a_block_volume_has_no_file_system_type(self):
        self.kube.make(f"{SHOP}/persistentvolumeclaims", claim("raw", mode="Block"))
        name = self.bound("raw")["spec"]["volumeName"]
        volume = self.kube.admin.get(f"/api/v1/persistentvolumes/{name}").json
        self.assertNotIn("fsType", volume["spec"]["csi"])

    def test_a_retained_volume_keeps_its_image(self):
        self.kube.make(f"{SHOP}/persistentvolumeclaims", claim("kept"))
        path = "/api/v1/persistentvolumes/" + self.bound("kept")["spec"]["volumeName"]
        self.kube.admin.patch(path, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
        self.kube.admin.delete(f"{SHOP}/persistentvolumeclaims/kept")
        volume = wait_for(lambda: self.phase(path, "Released"), "it is released")
        self.assertIn(volume["spec"]["csi"]["volumeAttributes"]["imageName"],
                      self.rbd("ls", "rbd").split())

    def test_a_bucket_claim_gets_a_bucket_with_keys_that_open_it_and_takes_it_along(self):
        self.kube.make(CLAIMS, replay.recorded(182)[0].json)
        found = wait_for(lambda: self.phase(f"{CLAIMS}/photos", "Bound"), "bound", SLOW)
        self.assertEqual(set(found["spec"]), set(replay.recorded(187)[1].json["spec"]))
        secret = self.kube.admin.get(f"{SHOP}/secrets/photos").json
        config = self.kube.admin.get(f"{SHOP}/configmaps/photos").json
        bucket = self.kube.admin.get(
            "/apis/objectbucket.io/v1alpha1/objectbuckets/obc-shop-photos").json
        for have, number in ((secret, 190), (config, 189), (bucket, 188)):
            want = replay.recorded(number)[1].json
            self.assertEqual(set(have), set(want))
            self.assertEqual(set(have["metadata"]), set(want["metadata"]))
            for part in ("data", "spec"):
                self.assertEqual(set(have.get(part, {})), set(want.get(part, {})))
        keys = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
        data = config["data"]
        client = boto3.client(
            "s3", endpoint_url=f"http://{data['BUCKET_HOST']}:{data['BUCKET_PORT']}",
            region_name="us-east-1", aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"])
        client.put_object(Bucket=data["BUCKET_NAME"], Key="a", Body=b"x")
        self.assertEqual(client.get_object(Bucket=data["BUCKET_NAME"], Key="a")["Body"].read(), b"x")
        self.kube.admin.delete(f"{CLAIMS}/photos")
        wait_for(lambda: self.kube.admin.get(f"{CLAIMS}/photos").code == 404, "gone", SLOW)
        wait_for(lambda: self.kube.admin.get(f"{SHOP}/secrets/photos").code == 404, "secret gone")
        self.assertNotIn(data["BUCKET_NAME"], self.ceph.radosgw_admin("bucket", "list"))

    def make_bucket_claim(self, name, **spec):
        made = replay.recorded(182)[0].json
        made["metadata"] = {"name": name, "labels": {"app": "x"}}
        made["spec"] = {"storageClassName": made["spec"]["storageClassName"], **spec}
        self.kube.make(CLAIMS, made)

    def buckets(self):
        return self.ceph.radosgw_admin("bucket", "list")

    def gone(self, name):
        self.kube.admin.delete(f"{CLAIMS}/{name}")
        wait_for(lambda: self.kube.admin.get(f"{CLAIMS}/{name}").code == 404, "gone", SLOW)

    def test_a_bucket_goes_by_the_object_bucket_of_the_claims_name_and_by_nothing_else(self):
        self.make_bucket_claim("first", bucketName="first-bucket")
        found = wait_for(lambda: self.phase(f"{CLAIMS}/first", "Bound"), "bound", SLOW)
        self.assertNotIn("app", found["metadata"]["labels"], "labels are replaced, as there")
        path = f"{BUCKETS}/obc-shop-first"
        self.kube.admin.patch(path, {"metadata": {"finalizers": None}})
        self.kube.admin.delete(path)
        self.gone("first")
        wait_for(lambda: self.kube.admin.get(f"{SHOP}/secrets/first").code == 404, "secret gone")
        self.assertIn("first-bucket", self.buckets())

    def test_a_claim_that_names_its_object_bucket_is_left_alone(self):
        self.make_bucket_claim("named", bucketName="named-bucket", objectBucketName="obc-shop-named")
        self.make_bucket_claim("both", bucketName="both-bucket", generateBucketName="both")
        self.make_bucket_claim("plain", generateBucketName="plain")
        wait_for(lambda: self.phase(f"{CLAIMS}/plain", "Bound"), "bound", SLOW)
        for name in ("named", "both"):
            self.assertNotEqual(self.kube.admin.get(f"{CLAIMS}/{name}").json.get("status", {}).get("phase"), "Bound")
            self.assertNotIn(f"{name}-bucket", self.buckets())

    def test_a_bucket_that_is_retained_is_denied_to_its_owner(self):
        kept = replay.recorded(181)[0].json
        kept["metadata"]["name"], kept["reclaimPolicy"] = "kept-bucket", "Retain"
        self.kube.make(CLASSES, kept)
        self.make_bucket_claim("kept", bucketName="kept-bucket", storageClassName="kept-bucket")
        wait_for(lambda: self.phase(f"{CLAIMS}/kept", "Bound"), "bound", SLOW)
        data = self.kube.admin.get(f"{SHOP}/secrets/kept").json["data"]
        client = boto3.client("s3", endpoint_url=self.user["endpoint"], region_name="us-east-1", **{
            name.lower(): base64.b64decode(value).decode() for name, value in data.items()})
        client.list_objects_v2(Bucket="kept-bucket")
        self.gone("kept")
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "AccessDenied"):
            client.list_objects_v2(Bucket="kept-bucket")

    def test_a_failed_image_is_tried_again(self):
        broken = replay.recorded(40)[0].json
        broken["metadata"]["name"], broken["parameters"]["pool"] = "later", "later"
        self.kube.make(CLASSES, broken)
        wanted = claim("late")
        wanted["spec"]["storageClassName"] = "later"
        uid = self.kube.make(f"{SHOP}/persistentvolumeclaims", wanted)["metadata"]["uid"]
        wait_for(lambda: uid in self.kube.server.provisioners[0].failed, "it failed", SLOW)
        self.ceph.create_pool("later", app="rbd")
        self.bound("late")


if __name__ == "__main__":
    unittest.main(warnings="ignore")
