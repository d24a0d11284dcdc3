"""What ceph-csi and Rook do in a real cluster, with a real Ceph: images for claims, buckets for OBCs."""

import copy
import json
import subprocess
import threading
import time
import urllib.parse
import uuid

from binder import BETA_PROVISIONER, CLAIMS, CLASSES, PROVISIONER, VOLUMES, annotation
from errors import ApiError
from objects import Call
from quantity import parse

RBD_SUFFIX, BUCKET_SUFFIX = ".rbd.csi.ceph.com", ".ceph.rook.io/bucket"
OBC = ("objectbucket.io", "objectbucketclaims")
OB = ("objectbucket.io", "objectbuckets")
FINALIZER = "objectbucket.io/finalizer"
SECRET = "csi.storage.k8s.io/"
MIB = 1024 * 1024


class CommandFailed(Exception):
    pass


class Ceph:
    """Ceph's own command line, against the cluster of one ceph.conf."""

    def __init__(self, conf):
        self.conf = conf

    def __call__(self, tool, *arguments):
        done = subprocess.run([tool, "--conf", self.conf, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=120, check=False)
        if done.returncode != 0:
            raise CommandFailed(f"{tool} {' '.join(arguments)}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def pool_id(self, pool):
        found = {p["poolname"]: p["poolnum"] for p in json.loads(
            self("ceph", "osd", "lspools", "--format", "json"))}
        if pool not in found:
            raise CommandFailed(f"no pool {pool}")
        return found[pool]


class Provisioner:
    """A thread that looks at the store after each change. `once` does what is to be done now."""

    RETRY_SECONDS = 1.0  # after a command that failed

    def __init__(self, server, conf):
        self.store, self.objects, self.registry = server.store, server.objects, server.registry
        self.ceph = Ceph(conf)
        self.stopped = False
        self.failed = {}  # uid -> the last failure, for whoever looks for it
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopped = True
        with self.store.changed:
            self.store.changed.notify_all()
        self.thread.join(130)

    def _run(self):
        seen = -1
        while not self.stopped:
            with self.store.changed:
                if self.store.rv == seen:
                    self.store.changed.wait(self.RETRY_SECONDS)
                seen = self.store.rv
            if not self.stopped:
                self.once()

    def attempt(self, what, obj):
        """Runs one step for an object; a failure is kept and tried again later."""
        uid = obj["metadata"]["uid"]
        try:
            what(obj)
            self.failed.pop(uid, None)
        except (CommandFailed, ApiError, subprocess.TimeoutExpired, KeyError) as error:
            if self.failed.get(uid) != str(error):
                print(f"provisioner: {obj['metadata']['name']}: {error}", flush=True)
            self.failed[uid] = str(error)

    def once(self):
        raise NotImplementedError


def image_of(volume):
    """(pool, image) of a volume of ceph-csi."""
    attributes = volume["spec"]["csi"].get("volumeAttributes") or {}
    handle = volume["spec"]["csi"]["volumeHandle"]
    image = attributes.get("imageName") or (
        handle if attributes.get("staticVolume") == "true" else "csi-vol-" + handle[-36:])
    return attributes["pool"], image


class Volumes(Provisioner):
    """ceph-csi RBD: an image for each claim of its classes, gone with a volume to be deleted."""

    def once(self):
        for claim in self.store.items(CLAIMS):
            provisioner = annotation(claim, PROVISIONER) or annotation(claim, BETA_PROVISIONER)
            if provisioner and provisioner.endswith(RBD_SUFFIX) and not claim["spec"].get(
                    "volumeName") and not claim["metadata"].get("deletionTimestamp"):
                self.attempt(self._provision, claim)
        for volume in self.store.items(VOLUMES):
            if volume["spec"].get("csi", {}).get("driver", "").endswith(RBD_SUFFIX):
                self.attempt(self._delete_released, volume)

    @staticmethod
    def _references(parameters):
        for key, field in (("node-stage", "nodeStageSecretRef"),
                           ("controller-expand", "controllerExpandSecretRef")):
            name = parameters.get(f"{SECRET}{key}-secret-name")
            if name:
                yield field, {"name": name,
                              "namespace": parameters.get(f"{SECRET}{key}-secret-namespace", "")}

    def _provision(self, claim):
        meta, spec = claim["metadata"], claim["spec"]
        name = f"pvc-{meta['uid']}"
        if self.store.get(VOLUMES, "", name):
            return
        found = self.store.get(CLASSES, "", spec["storageClassName"])
        parameters, driver = found.get("parameters") or {}, found["provisioner"]
        pool, cluster = parameters["pool"], parameters["clusterID"]
        # The same id at each attempt: an image made before a failure is met again, not left behind.
        ident = str(uuid.uuid5(uuid.UUID(meta["uid"]), "image"))
        size = parse(spec["resources"]["requests"]["storage"])
        image = f"csi-vol-{ident}"
        self._create_image(pool, image, -(-int(size) // MIB))
        handle = f"0001-{len(cluster):04x}-{cluster}-{self.ceph.pool_id(pool):016x}-{ident}"
        attributes = {"clusterID": cluster, "imageFeatures": "layering", "imageFormat": "2",
                      "imageName": image, "journalPool": pool, "pool": pool,
                      "storage.kubernetes.io/csiProvisionerIdentity":
                          f"{int(time.time() * 1000)}-1-{driver}"}
        csi = {"driver": driver, "volumeHandle": handle, "volumeAttributes": attributes,
               **dict(self._references(parameters))}
        if spec.get("volumeMode", "Filesystem") == "Filesystem":
            csi["fsType"] = parameters.get(f"{SECRET}fstype", "ext4")
        annotations = {"pv.kubernetes.io/provisioned-by": driver}
        for part in ("name", "namespace"):
            value = parameters.get(f"{SECRET}provisioner-secret-{part}")
            if value:
                annotations[f"volume.kubernetes.io/provisioner-deletion-secret-{part}"] = value
        volume = {"apiVersion": "v1", "kind": "PersistentVolume",
                  "metadata": {"name": name, "annotations": annotations},
                  "spec": {"accessModes": spec["accessModes"],
                           "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                           "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                                        "name": meta["name"], "namespace": meta["namespace"],
                                        "resourceVersion": meta["resourceVersion"],
                                        "uid": meta["uid"]},
                           "csi": csi, "storageClassName": spec["storageClassName"],
                           "persistentVolumeReclaimPolicy": found.get("reclaimPolicy", "Delete"),
                           "volumeMode": spec.get("volumeMode", "Filesystem")}}
        self.objects.create(self.registry.find("", "v1", "persistentvolumes"), "", volume,
                            Call("csi-provisioner"))

    def _create_image(self, pool, image, mebibytes):
        if image not in self.ceph("rbd", "ls", pool).split():
            self.ceph("rbd", "create", "--size", f"{mebibytes}M", "--image-feature", "layering",
                      f"{pool}/{image}")

    def _delete_released(self, volume):
        spec, meta = volume["spec"], volume["metadata"]
        if spec["persistentVolumeReclaimPolicy"] != "Delete" or not annotation(
                volume, "pv.kubernetes.io/provisioned-by") or volume["status"].get(
                    "phase") != "Released" or meta.get("deletionTimestamp"):
            return
        pool, image = image_of(volume)
        if image in self.ceph("rbd", "ls", pool).split():
            self.ceph("rbd", "rm", "--no-progress", f"{pool}/{image}")
        self.objects.delete(self.registry.find("", "v1", "persistentvolumes"), "", meta["name"],
                            {"preconditions": {"uid": meta["uid"]}}, Call("csi-provisioner"))


class Buckets(Provisioner):
    """Rook's bucket provisioner: a user and a bucket for each claim, as exchanges 182-195 show.

    What a client can trip over is as there: a claim that names its ObjectBucket is left alone; labels and
    finalizers of one that is provisioned are replaced; whoever is deleted is found by the name of the claim
    alone, and without an ObjectBucket of that name nothing is deleted of the object store."""

    def __init__(self, server, conf, endpoint):
        super().__init__(server, conf)
        split = urllib.parse.urlsplit(endpoint)
        self.endpoint, self.host = endpoint, split.hostname
        self.port = split.port or (443 if split.scheme == "https" else 80)

    def once(self):
        for claim in self.store.items(OBC):
            found = self.store.get(CLASSES, "", claim.get("spec", {}).get("storageClassName", ""))
            if not found or not found["provisioner"].endswith(BUCKET_SUFFIX):
                continue
            if claim["metadata"].get("deletionTimestamp"):
                self.attempt(self._delete, claim)
            elif not claim["spec"].get("objectBucketName"):
                self.attempt(self._provision, claim)

    def _res(self, storage):
        return self.registry.of_storage(storage)

    @staticmethod
    def _names(claim):
        meta, spec = claim["metadata"], claim["spec"]
        fixed, prefix = spec.get("bucketName"), spec.get("generateBucketName")
        if bool(fixed) == bool(prefix):
            raise CommandFailed("either bucketName or generateBucketName is expected")
        bucket = fixed or f"{prefix[:26]}-{uuid.uuid5(uuid.UUID(meta['uid']), 'bucket')}"
        return bucket, f"obc-{meta['namespace']}-{meta['name']}-{meta['uid']}"

    @staticmethod
    def _key_of(claim):
        """The name of its ObjectBucket, by which it is found when the claim goes."""
        return f"obc-{claim['metadata']['namespace']}-{claim['metadata']['name']}"

    def _admin(self, *arguments):
        return self.ceph("radosgw-admin", *arguments)

    def _user(self, name):
        try:
            found = self._admin("user", "info", "--uid", name)
        except CommandFailed:
            found = self._admin("user", "create", "--uid", name, "--display-name", name)
        return json.loads(found)["keys"][0]

    def _client(self, key):
        import boto3
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                            aws_access_key_id=key["access_key"],
                            aws_secret_access_key=key["secret_key"], verify=False)

    def _owner(self, bucket):
        try:
            return json.loads(self._admin("bucket", "stats", "--bucket", bucket))["owner"]
        except CommandFailed:
            return None

    def _create_bucket(self, user, key, bucket):
        from botocore.exceptions import ClientError
        owner = self._owner(bucket)
        if owner not in (None, user):
            raise CommandFailed(f"bucket {bucket} already exists and is owned by {owner}")
        if owner is None:
            try:
                self._client(key).create_bucket(Bucket=bucket)
            except ClientError as error:
                raise CommandFailed(str(error)) from error
        self._admin("user", "modify", "--uid", user, "--max-buckets", "1")

    def _change(self, storage, obj, alter, door=""):
        return self.objects.change(self._res(storage), obj, alter, "rook", door)

    def _provision(self, claim):
        def phase(name):
            def alter(new):
                new["status"] = {**new.get("status", {}), "phase": name}
            return alter
        claim = self._change(OBC, claim, phase("Pending"), "status")
        found = self.store.get(CLASSES, "", claim["spec"]["storageClassName"])
        label = {"bucket-provisioner": found["provisioner"].replace("/", "-")}

        def adopt(new):
            meta = new["metadata"]
            meta["finalizers"], meta["labels"] = [FINALIZER], dict(label)
        claim = self._change(OBC, claim, adopt)
        bucket, user = self._names(claim)
        key = self._user(user)
        self._create_bucket(user, key, bucket)
        self._connection(claim, bucket, key, label)
        name = self._object_bucket(claim, bucket, user, found, label)
        self._change(OB, self.store.get(OB, "", name), phase("Bound"), "status")

        def fill(new):
            new["spec"].update(bucketName=bucket, objectBucketName=name)
        claim = self._change(OBC, claim, fill)
        self._change(OBC, claim, phase("Bound"), "status")

    def _create(self, storage, namespace, obj):
        try:
            self.objects.create(self._res(storage), namespace, obj, Call("rook"))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def _connection(self, claim, bucket, key, label):
        """The Secret and the ConfigMap of the claim's name."""
        meta = claim["metadata"]
        shared = {"name": meta["name"], "namespace": meta["namespace"], "labels": label,
                  "finalizers": [FINALIZER],
                  "ownerReferences": [{"apiVersion": claim["apiVersion"], "kind": claim["kind"],
                                       "name": meta["name"], "uid": meta["uid"],
                                       "controller": True, "blockOwnerDeletion": True}]}
        self._create(("", "secrets"), meta["namespace"], {
            "apiVersion": "v1", "kind": "Secret", "metadata": copy.deepcopy(shared),
            "stringData": {"AWS_ACCESS_KEY_ID": key["access_key"],
                           "AWS_SECRET_ACCESS_KEY": key["secret_key"]}})
        self._create(("", "configmaps"), meta["namespace"], {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": copy.deepcopy(shared),
            "data": {"BUCKET_HOST": self.host, "BUCKET_NAME": bucket,
                     "BUCKET_PORT": str(self.port), "BUCKET_REGION": "",
                     "BUCKET_SUBREGION": ""}})

    def _object_bucket(self, claim, bucket, user, found, label):
        meta, parameters = claim["metadata"], found.get("parameters") or {}
        name = self._key_of(claim)
        self._create(OB, "", {
            "apiVersion": claim["apiVersion"], "kind": "ObjectBucket",
            "metadata": {"name": name, "finalizers": [FINALIZER], "labels": label},
            "spec": {"additionalState": {
                         "cephUser": user,
                         "objectStoreName": parameters.get("objectStoreName", ""),
                         "objectStoreNamespace": parameters.get("objectStoreNamespace", "")},
                     "claimRef": {"apiVersion": claim["apiVersion"], "kind": claim["kind"],
                                  "name": meta["name"], "namespace": meta["namespace"],
                                  "uid": meta["uid"]},
                     "endpoint": {"additionalConfig": claim["spec"].get("additionalConfig") or {},
                                  "bucketHost": self.host, "bucketName": bucket,
                                  "bucketPort": self.port, "region": "", "subRegion": ""},
                     "reclaimPolicy": found.get("reclaimPolicy", "Delete"),
                     "storageClassName": claim["spec"]["storageClassName"]}})
        return name

    # Deletion

    def _release(self, storage, namespace, name):
        """Takes its finalizer off an object of the provisioner's, which is returned."""
        found = self.store.get(storage, namespace, name)

        def alter(new):
            new["metadata"]["finalizers"] = [f for f in new["metadata"].get("finalizers") or []
                                             if f != FINALIZER]
        if found:
            self._change(storage, found, alter)
        return found

    def _delete(self, claim):
        meta = claim["metadata"]
        found = self.store.get(OB, "", self._key_of(claim))
        if found:
            if not found["spec"].get("reclaimPolicy"):
                return

            def released(new):
                new["status"] = {**new.get("status", {}), "phase": "Released"}
            found = self._change(OB, found, released, "status")
            self._give_up(found["spec"])
            if self._release(OB, "", found["metadata"]["name"]) and self.store.get(
                    OB, "", found["metadata"]["name"]):
                self.objects.delete(self._res(OB), "", found["metadata"]["name"], {}, Call("rook"))
        # The Secret and the ConfigMap go with their owner.
        self._release(("", "secrets"), meta["namespace"], meta["name"])
        self._release(("", "configmaps"), meta["namespace"], meta["name"])
        self._release(OBC, meta["namespace"], meta["name"])

    def _give_up(self, spec):
        """The bucket and its user, by the reclaim policy: both go, or the owner may nothing any more."""
        bucket, user = spec["endpoint"]["bucketName"], spec["additionalState"]["cephUser"]
        if spec["reclaimPolicy"] != "Delete":
            self._revoke(bucket, user)
            return
        for arguments in (("bucket", "rm", "--bucket", bucket, "--purge-objects"),
                          ("user", "rm", "--uid", user)):
            try:
                self._admin(*arguments)
            except CommandFailed as error:
                if not any(text in str(error).lower() for text in ("(2)", "not exist",
                                                                   "no such", "could not")):
                    raise

    def _revoke(self, bucket, user):
        if self._owner(bucket) != user:
            return
        key = json.loads(self._admin("user", "info", "--uid", user))["keys"][0]
        self._client(key).put_bucket_policy(Bucket=bucket, Policy=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Sid": user, "Effect": "Deny", "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]},
                           "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
                           "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}))
