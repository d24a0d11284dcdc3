"""A bucket beside a model of it (figure 10): random operations by four writers, with reshards, and points
taken while they pause and while they do not. Every point is restored and held against the model.

TM_ROUNDS is the number of operations."""

import contextlib
import hashlib
import io
import json
import sys
import threading
import time

import botocore.exceptions
from bucket_support import BucketCase, Workers, gateway
from support import MIB, main, rounds

KEYS = 120
WRITERS = 4


class Gate:
    """Writers pass one operation at a time; closed, none is under way."""

    def __init__(self):
        self.changed, self.inside, self.closed = threading.Condition(), 0, False

    def __enter__(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.inside += 1

    def __exit__(self, *_):
        with self.changed:
            self.inside -= 1
            self.changed.notify_all()

    @contextlib.contextmanager
    def shut(self, closed=True):
        with self.changed:
            self.closed = closed
            self.changed.wait_for(lambda: self.inside == 0 or not closed)
        try:
            yield
        finally:
            with self.changed:
                self.closed = False
                self.changed.notify_all()


class Key:
    """The history of one key: [(when its state could be seen first, when for sure, versions)], the versions
    newest first, each (id, sha256 or None for a delete marker, mark)."""

    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        self.history = [(0.0, 0.0, ())]
        self.unknown = []  # [(begin, end)]: when the gateway lost or revived something of it

    @property
    def now(self):
        return self.history[-1][2]

    def current(self):
        return self.now[0] if self.now and self.now[0][1] else None

    def between(self, begin, end):
        """All states that could be seen in that time; nothing where the gateway itself did wrong."""
        if any(since < end and until > begin for since, until in self.unknown):
            return None
        found, last = [], len(self.history) - 1
        for number, (first, _, state) in enumerate(self.history):
            gone = self.history[number + 1][1] if number < last else float("inf")
            if first <= end and gone >= begin:
                found.append(state)
                # A null version goes before the next one comes.
                if number > 0:
                    found.append(tuple(v for v in self.history[number - 1][2] if v in state))
        return found


class Model:
    def __init__(self, s3, bucket, versioning):
        self.s3, self.bucket, self.versioning = s3, bucket, versioning
        self.keys = [Key(f"{n % 7}/key {n:04}") for n in range(KEYS)]
        self.gate, self.count, self.counts, self.unclear = Gate(), 0, {}, 0
        self.checked = time.monotonic()  # when the gateway was last seen to agree
        self.stale = set()  # what the gateway lists with another ETag than it has
        s3.create_bucket(Bucket=bucket)
        self.set_versioning(versioning)

    def set_versioning(self, status):
        self.versioning = status
        if status:
            self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})

    # --- what an operation does to the versions of a key

    def after_put(self, versions, answer, digest, mark):
        new = (answer.get("VersionId", "null"), digest, mark)
        if self.versioning == "Enabled":
            return (new, *versions)
        return (("null", digest, mark), *(v for v in versions if v[0] != "null"))

    def after_delete(self, versions, answer):
        if not self.versioning:
            return ()
        if self.versioning == "Enabled":
            return ((answer["VersionId"], None, None), *versions)
        return (("null", None, None), *(v for v in versions if v[0] != "null"))

    def put(self, key, body, mark):
        answer = self.s3.put_object(Bucket=self.bucket, Key=key.name, Body=body, Metadata={"mark": mark})
        return self.after_put(key.now, answer, hashlib.sha256(body).hexdigest(), mark)

    def put_parts(self, key, body, mark):
        where = {"Bucket": self.bucket, "Key": key.name}
        upload = {**where, "UploadId": self.s3.create_multipart_upload(**where, Metadata={"mark": mark})["UploadId"]}
        parts = [{"PartNumber": number, "ETag": self.s3.upload_part(
            **upload, PartNumber=number, Body=io.BytesIO(body[at:at + 5 * MIB]))["ETag"]}
            for number, at in enumerate(range(0, len(body), 5 * MIB), 1)]
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        return self.after_put(key.now, self.head(key), hashlib.sha256(body).hexdigest(), mark)

    def head(self, key):
        """radosgw leaves the version out of what it answers to a copy or an upload in parts."""
        return self.s3.head_object(Bucket=self.bucket, Key=key.name)

    def copy(self, key, source):
        _, digest, mark = source.current()
        self.s3.copy_object(Bucket=self.bucket, Key=key.name,
                            CopySource={"Bucket": self.bucket, "Key": source.name})
        return self.after_put(key.now, self.head(key), digest, mark)

    def delete(self, key):
        answer = self.s3.delete_object(Bucket=self.bucket, Key=key.name)
        # Of a key that nobody knows there is no marker, and with suspended versioning not always one.
        if self.versioning == "Suspended" or (self.versioning and "VersionId" not in answer):
            return tuple(self.seen(key.name).get(key.name, ()))
        return self.after_delete(key.now, answer)

    def delete_version(self, key, version):
        self.s3.delete_object(Bucket=self.bucket, Key=key.name, VersionId=version[0])
        return tuple(v for v in key.now if v != version)

    # --- the writers

    def operation(self, _, source):
        with self.gate:
            key, other = source.sample(self.keys, 2)
            kind = source.choices(["put", "parts", "copy", "delete", "version"], [60, 1, 12, 20, 10])[0]
            first, second = sorted((key, other), key=lambda k: k.name)
            with first.lock, second.lock:
                self.run(kind, key, other, source)

    def run(self, kind, key, other, source):
        mark, begun = f"{source.getrandbits(64):x}", time.monotonic()
        try:
            if kind == "version" and key.now and self.versioning:
                versions = self.delete_version(key, source.choice(key.now))
            elif kind == "delete":
                versions = self.delete(key)
            # A copy within a bucket whose versioning is suspended can share its bytes with the source.
            elif kind == "copy" and other.current() and self.versioning != "Suspended":
                versions = self.copy(key, other)
            elif kind == "parts":
                versions = self.put_parts(key, source.randbytes(5 * MIB + source.randrange(MIB)), mark)
            else:
                kind = "put"
                versions = self.put(key, source.randbytes(source.choice([0, 10, 3000, 70_000])), mark)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            # Done or not: the gateway is asked, once nothing of it can be under way any more.
            time.sleep(1)
            versions = tuple(self.seen(key.name).get(key.name, ()))
            self.unclear += 1
        key.history.append((begun, time.monotonic(), versions))
        self.count += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1

    # --- what the gateway says

    def seen(self, prefix="", s3=None, bucket=None):
        """{key: versions} as in a Key's history."""
        s3, bucket, found = s3 or self.s3, bucket or self.bucket, {}
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            # Versions and markers come apart: of one key, the times put them in order again.
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                found.setdefault(one["Key"], []).append(one)
        names = []
        for versions in found.values():
            versions.sort(key=lambda v: (v["IsLatest"], v["LastModified"]), reverse=True)
            names += versions

        def read(one):
            if "Size" not in one:
                return one["VersionId"], None, None
            try:
                got = s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
            except s3.exceptions.NoSuchKey:  # listed, and nothing is there: after a lost answer
                self.stale.add((one["Key"], one["VersionId"]))
                return one["VersionId"], "unreadable", None
            if got["ETag"] != one["ETag"]:
                self.stale.add((one["Key"], one["VersionId"]))
            return one["VersionId"], hashlib.sha256(got["Body"].read()).hexdigest(), got["Metadata"].get("mark")
        read_all = iter(gateway.in_threads(read, names, threads=8))
        return {key: [next(read_all) for _ in versions] for key, versions in found.items()}


def without_ids(versions):
    return tuple(v[1:] for v in versions)


def restorable(versions):
    """Without ids, and markers in a row as one: radosgw makes none where the newest is one already, but
    while versioning is suspended."""
    plain = without_ids(versions)
    return tuple(v for n, v in enumerate(plain) if n == 0 or v[0] or plain[n - 1][0])


class Models(BucketCase):
    maxDiff = None

    def reshard(self, bucket):
        self.clusters["a"].radosgw_admin("bucket", "reshard", f"--bucket={bucket}", "--yes-i-really-mean-it",
                                         f"--num-shards={self.random.choice([2, 3, 5, 7, 11])}", json=False,
                                         timeout=300)

    def take_point(self, model, points, paused):
        with model.gate.shut(paused):
            if paused:
                self.check_gateway(model)
            begin = time.monotonic()
            done = self.pair.tokyo.run("--json", "--quiet", "backup", f"s3/{model.bucket}", code=None)
            end = time.monotonic()
        # A key can move faster than it is read: the point is taken in part then, and says which keys are not in it
        # as they were. Never with paused writers.
        self.assertIn(done.returncode, [0] if paused else [0, 3], f"{done.errors} {self.described(model, done.errors)}")
        points.append((json.loads(done.text)["points"][0], begin, end, paused))

    @staticmethod
    def described(model, message):
        """What the gateway says of the keys that a message names."""
        said = []
        for key in (key for key in model.keys if f"'{key.name}'" in message):
            answer = model.s3.list_object_versions(Bucket=model.bucket, Prefix=key.name)
            for one in answer.get("Versions", []) + answer.get("DeleteMarkers", []):
                said.append({k: str(v) for k, v in one.items() if k != "Owner"})
                if "Size" in one:
                    head = model.s3.head_object(Bucket=model.bucket, Key=key.name, VersionId=one["VersionId"])
                    said.append({k: str(head.get(k)) for k in ("LastModified", "ETag", "ContentLength")})
        return said

    def check_gateway(self, model):
        """The source against the model, so that a fault of the gateway is told from one of ours. A list that
        tells of an older object than there is stays so until that version is gone."""
        seen = model.seen()
        for key, version in model.stale:
            print(f"the gateway itself: {key}, version {version}: listed as it is not", file=sys.stderr)
            model.s3.delete_object(Bucket=model.bucket, Key=key, VersionId=version)
            seen[key] = model.seen(key).get(key, ())
        model.stale = set()
        for key in model.keys:
            versions = tuple(seen.pop(key.name, ()))
            if without_ids(versions) != without_ids(key.now):
                print(f"the gateway itself: {key.name}: {versions} instead of {key.now}", file=sys.stderr)
                self.gateway_faults += 1
                key.unknown.append((model.checked, time.monotonic()))
                key.history.append((time.monotonic(), time.monotonic(), versions))
        self.assertEqual(seen, {}, "keys that nobody wrote")
        model.checked = time.monotonic()

    def work(self, model, operations):
        """Until so many operations are done: points and reshards in between, and versioning on and off."""
        points, begin = [], model.count
        count_points, count_reshards = max(4, operations // 2000), max(2, operations // 10_000)
        acts = [("point", n % 2 == 0) for n in range(count_points)] + [("reshard", None)] * count_reshards
        if model.versioning:
            acts += [("versioning", "Suspended"), ("versioning", "Enabled")] * max(1, count_points // 4)
        self.random.shuffle(acts)
        with Workers(WRITERS, model.operation, self.random.randrange(1 << 32)) as workers:
            for number, (act, how) in enumerate(acts, 1):
                target = begin + operations * number // len(acts)
                while model.count < target and not workers.errors:
                    time.sleep(0.02)
                if act == "point":
                    self.take_point(model, points, paused=how)
                elif act == "reshard":
                    # Under writers radosgw 16 damages its index of versions: deleted ones are listed again,
                    # markers lost, null versions listed as they were before, or twice.
                    with model.gate.shut(bool(model.versioning)):
                        self.reshard(model.bucket)
                    with model.gate.shut():
                        self.check_gateway(model)
                else:
                    with model.gate.shut():
                        model.set_versioning("Suspended" if model.versioning == "Enabled" else "Enabled")
        return points

    def check_point(self, model, point, begin, end, what):
        """Every key is as it was at some moment of the capture."""
        versions = ["--versions"] if model.versioning else []
        self.restore("--point", point["id"], "--to-bucket", "back", *versions, bucket=model.bucket)
        seen, wrong = model.seen(s3=self.s3["b"], bucket="back"), []
        unsettled = {one["key"] for one in point["unsettled"]}
        self.assertEqual(len(unsettled), point["keys_unsettled"], "each is named")
        for key in model.keys:
            if key.name in unsettled:
                seen.pop(key.name, None)
                continue
            got, states = restorable(seen.pop(key.name, ())), key.between(begin, end)
            if states is not None and got not in [restorable(state) for state in states]:
                wrong.append(f"{key.name}: {got}, not one of {states}")
        self.assertEqual((wrong, seen), ([], {}), f"point {point['id']}, {what}")
        gateway.remove_bucket(self.s3["b"], "back")

    def run_model(self, bucket, versioning):
        operations, self.gateway_faults = rounds(400), 0
        # Nothing is sent twice behind the model's back.
        user = gateway.client(self.users["a"], retries={"max_attempts": 0})
        model = Model(user, bucket, versioning)
        points = self.work(model, operations)
        self.take_point(model, points, paused=True)
        for point, begin, end, paused in points:
            self.check_point(model, point, begin, end, "paused" if paused else "under writers")
        self.verify()
        print(f"{bucket}: {model.count} operations {model.counts}, {model.unclear} with an unclear answer; "
              f"{len(points)} points, {sum(p[3] for p in points)} of them with paused writers, "
              f"{sum(p[0]['keys_unsettled'] > 0 for p in points)} in part: 0 keys missing, extra "
              f"or wrong; {self.gateway_faults} faults of the gateway itself", file=sys.stderr)

    def test_a_bucket_without_versions(self):
        self.run_model("plain", None)

    def test_a_bucket_with_versions(self):
        self.run_model("versioned", "Enabled")


if __name__ == "__main__":
    main()
