"""Buckets that do not hold still, that vanish, that are full; damage, kills, gateways over TLS.

Each point holds every key as it was at some moment of its capture; what fails says so, leaves no half point
and goes on with the next run."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

from bucket_support import BucketCase, Workers, gateway  # finds the next one's folder
from ports import free_port
from support import main, rounds, sh


class Moving(BucketCase):
    """Writers during the capture."""

    def setUp(self):
        super().setUp()
        self.lock, self.written = threading.Lock(), {}

    def put(self, key, source):
        """A state of a key that could be seen from now on, and may have been the last for ever."""
        body, mark = source.randbytes(source.randrange(60_000)), uuid.UUID(int=source.getrandbits(128)).hex
        with self.lock:
            self.written.setdefault(key, set()).add((hashlib.sha256(body).hexdigest(), mark))
        self.s3["a"].put_object(Bucket="photos", Key=key, Body=body, Metadata={"mark": mark})

    def disturb(self, number, source):
        key = f"hot/{source.randrange(40):03}"
        if source.random() < 0.2:
            self.s3["a"].delete_object(Bucket="photos", Key=key)
        else:
            self.put(key, source)
        time.sleep(0.02)

    def test_every_object_is_one_that_was_written(self):
        self.s3["a"].create_bucket(Bucket="photos")
        keys = [f"calm/{n:04}" for n in range(150)] + [f"hot/{n:03}" for n in range(40)]
        gateway.in_threads(lambda key: self.put(key, self.random), keys)
        points = []
        with Workers(3, self.disturb, self.random.randrange(1 << 32)):
            for _ in range(rounds(3)):
                points.append(self.backup("photos"))
                # Only some are touched by the next round.
                gateway.in_threads(lambda n: self.put(f"calm/{n:04}", self.random), [self.random.randrange(150)])
        moved = 0
        for number, point in enumerate(points):
            self.restore("--point", point["id"], "--to-bucket", "back", "--delete-extra")
            seen = self.content("b", "back")
            for key, (digest, _, metadata, _) in seen.items():
                self.assertIn((digest, metadata.get("mark")), self.written[key], f"{key} in point {number}")
            missing = set(keys) - set(seen)
            self.assertEqual({key for key in missing if not key.startswith("hot/")}, set(), "calm keys")
            moved += point.get("keys_moved", 0)
        print(f"{len(points)} points under writers, {moved} keys moved while they were read", file=sys.stderr)
        self.verify()

    def test_a_bucket_deleted_before_or_during_the_capture(self):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket="photos")
        gateway.in_threads(lambda n: self.put(f"calm/{n:04}", self.random), range(60))
        state, point = self.content("a", "photos"), self.backup("photos")
        for number in range(rounds(3)):
            gateway.in_threads(lambda n: self.put(f"more/{number}/{n:04}", self.random), range(200))
            backup = self.start_backup()
            time.sleep(0.1 + self.random.random() * 0.6)
            backup.send_signal(signal.SIGSTOP)
            gateway.remove_bucket(s3, "photos")
            backup.send_signal(signal.SIGCONT)
            out, err = backup.communicate(timeout=200)
            if backup.returncode == 0:  # it had listed and read all: right all the same
                newest = json.loads(out)["points"][0]
                self.restore("--point", newest["id"], "--to-bucket", f"whole-{number}")
                self.assertGreaterEqual(len(self.content("b", f"whole-{number}")), 200)
            else:
                self.assertIn(backup.returncode, (1, 4), err)
                self.assertIn("photos", self.error(err.decode())["message"])
            listed = self.points()
            self.assertEqual(len(listed), 1 + (backup.returncode == 0) if number == 0 else len(listed))
            done = self.pair.tokyo.run("--json", "--quiet", "backup", "s3/photos", code=4)
            self.error(done.errors, "not_found")
            self.assertEqual(self.points(), listed)
            s3.create_bucket(Bucket="photos")
        self.restore("--point", point["id"], "--to-bucket", "first")
        self.assertEqual(self.content("b", "first"), state)
        # A bucket of the same name that holds nothing is an empty one, and said to be.
        empty = self.backup("photos")
        self.assertEqual(empty["size_bytes"], 0)
        self.verify()


class Refusals(BucketCase):
    """Exit codes of restores."""

    def fill(self, count=40, size=30_000):
        self.s3["a"].create_bucket(Bucket="photos")
        gateway.in_threads(lambda n: self.s3["a"].put_object(
            Bucket="photos", Key=f"{n:04}", Body=os.urandom(size), Metadata={"n": str(n)}), range(count))
        return self.content("a", "photos")

    def quota(self, bucket, objects):
        b = self.clusters["b"]
        b.radosgw_admin("quota", "set", "--quota-scope=bucket", f"--bucket={bucket}", f"--max-objects={objects}")
        b.radosgw_admin("quota", "enable", "--quota-scope=bucket", f"--bucket={bucket}")

    def test_a_full_quota_at_the_target(self):
        state = self.fill()
        self.backup("photos")
        # Full from the start: radosgw counts from memory, and lets many through that come at once.
        self.s3["b"].create_bucket(Bucket="back")
        for key in sorted(state)[:15]:
            got = self.s3["a"].get_object(Bucket="photos", Key=key)
            self.s3["b"].put_object(Bucket="back", Key=key, Body=got["Body"].read(), Metadata=got["Metadata"])
        self.quota("back", 15)
        done = self.pair.osaka.run("--json", "--quiet", "restore", "tokyo:s3/photos", "--to-bucket", "back", code=1)
        self.error(done.errors, "resource_exhausted")
        there = self.content("b", "back")
        self.assertLess(len(there), len(state))
        self.assertLessEqual(there.items(), state.items())
        self.quota("back", 1000)
        report = self.restore("--to-bucket", "back")
        self.assertEqual((self.content("b", "back"), report["objects_skipped"]), (state, len(there)))

    def test_what_cannot_be_set_is_done_in_part(self):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket="photos", ObjectLockEnabledForBucket=True)
        s3.put_object(Bucket="photos", Key="free", Body=b"free")
        s3.put_object(Bucket="photos", Key="held", Body=b"held", ObjectLockLegalHoldStatus="ON")
        try:
            self.backup("photos")
        finally:
            s3.put_object_legal_hold(Bucket="photos", Key="held", LegalHold={"Status": "OFF"})
        self.s3["b"].create_bucket(Bucket="plain")
        report = self.restore("--to-bucket", "plain", code=3)
        self.assertEqual([(p["key"], p["what"]) for p in report["problems"]], [("held", "lock")])
        self.assertEqual(set(self.content("b", "plain")), {"free", "held"})

    def test_damage_under_one_object(self):
        state = self.fill(count=20)
        self.backup("photos")
        packs = [os.path.join(at, n) for at, _, names in os.walk(os.path.join(self.pair.store_dir, "packs"))
                 for n in names]
        pack = max(packs, key=os.path.getsize)
        mode = os.stat(pack).st_mode
        os.chmod(pack, 0o600)
        with open(pack, "r+b") as f:
            f.seek(200)  # within its first blob
            byte = f.read(1)[0]
            f.seek(200)
            f.write(bytes([byte ^ 1]))
        os.chmod(pack, mode)
        report = self.restore("--to-bucket", "back", code=6)
        self.assertEqual(report["problems_total"], 1, report["problems"])
        lost = report["problems"][0]["key"]
        self.assertEqual(self.content("b", "back"), {k: v for k, v in state.items() if k != lost})
        out = os.path.join(self.dir, "out")
        self.restore("--to-dir", out, code=6)
        self.assertEqual(sorted(n for n in os.listdir(out) if not n.startswith(".")), sorted(set(state) - {lost}))
        self.pair.osaka.run("verify", "--read-data", code=6)


class Killed(BucketCase):
    def fill(self, number):
        def put(n):
            self.s3["a"].put_object(Bucket="photos", Key=f"{n:05}", Body=os.urandom(40_000), Metadata={"n": str(n)})
        gateway.in_threads(put, range(number * 150, number * 150 + 200))
        return self.content("a", "photos")

    def test_the_next_backup_goes_on(self):
        self.s3["a"].create_bucket(Bucket="photos")
        known, hits = set(), {"source": 0, "store": 0}
        for number in range(rounds(4)):
            state = self.fill(number)
            backup = self.start_backup()
            time.sleep(self.random.random() * 0.9)
            who = ("source", "store")[number % 2]
            hits[who] += backup.poll() is None
            if who == "source":
                backup.kill()
            else:
                self.pair.osaka.agent.kill()
                self.pair.osaka.agent.wait()
                self.pair.osaka.start_agent()
            out, err = backup.communicate(timeout=200)
            if backup.returncode == 0:
                known.add(json.loads(out)["points"][0]["id"])
            point = self.backup("photos")
            known.add(point["id"])
            self.assertLessEqual(known, set(self.points()), "acknowledged points are missing")
            self.restore("--point", point["id"], "--to-bucket", "back", "--delete-extra")
            self.assertEqual(self.content("b", "back"), state)
            self.verify()
        print(f"{rounds(4)} kills, under a running backup: {hits}", file=sys.stderr)

    def test_the_next_restore_goes_on(self):
        self.s3["a"].create_bucket(Bucket="photos")
        state = self.fill(0)
        gateway.put_in_parts(self.s3["a"], "photos", "film", os.urandom(20_000_000))
        state = self.content("a", "photos")
        self.backup("photos")
        hits = 0
        for number in range(rounds(3)):
            bucket = f"back-{number}"
            restore = subprocess.Popen(self.pair.osaka.command(
                "--json", "--quiet", "restore", "tokyo:s3/photos", "--to-bucket", bucket),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.1 + self.random.random() * 0.8)
            hits += restore.poll() is None
            restore.kill()
            restore.wait()
            report = self.restore("--to-bucket", bucket)
            self.assertEqual(report["objects_written"] + report["objects_skipped"], len(state))
            self.assertEqual(self.content("b", bucket), state)
        print(f"{rounds(3)} kills of a restore, {hits} while it ran", file=sys.stderr)


class Secure(BucketCase):
    """Another gateway of the same cluster, over TLS with a certificate of a CA that the system lacks."""

    def start_gateway(self):
        a, port = self.clusters["a"], free_port()
        ca, pem = os.path.join(self.dir, "ca"), os.path.join(self.dir, "gateway.pem")
        os.makedirs(ca)
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
           "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:*.localhost",
           "-keyout", f"{ca}/key", "-out", f"{ca}/crt")
        with open(pem, "w") as out:
            for name in ("key", "crt"):
                with open(f"{ca}/{name}") as f:
                    out.write(f.read())
        with open(os.path.join(self.dir, "gateway.log"), "wb") as log:
            process = subprocess.Popen(a.cmd(
                "radosgw", "-n", "client.rgw", "-f", "--rgw-dns-name", "localhost",
                "--rgw-data", self.dir, "--admin-socket", f"{self.dir}/rgw.asok", "--log-file", f"{self.dir}/rgw.log",
                "--rgw-frontends", f"beast ssl_endpoint=127.0.0.1:{port} ssl_certificate={pem}"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=a.env())
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while subprocess.run(["curl", "-sf", "--cacert", f"{ca}/crt", f"https://localhost:{port}/", "-o",
                              os.devnull]).returncode:
            self.assertIsNone(process.poll(), "the gateway ended")
            self.assertLess(time.monotonic(), deadline, "the gateway is not ready")
            time.sleep(0.1)
        return f"https://localhost:{port}", f"{ca}/crt"

    def test_a_gateway_over_tls(self):
        endpoint, certificate = self.start_gateway()
        self.s3["a"].create_bucket(Bucket="photos")
        for key in ("a b", "ü/日本", "c+d"):
            self.s3["a"].put_object(Bucket="photos", Key=key, Body=os.urandom(50_000), Metadata={"k": "v"})
        gateway.put_in_parts(self.s3["a"], "photos", "film", os.urandom(9_000_000))
        state = self.content("a", "photos")
        tokyo = self.pair.tokyo
        tokyo.edit_config(self.users["a"]["endpoint"], endpoint)
        done = tokyo.run("--json", "--quiet", "backup", "s3/photos", code=None)
        self.assertIn(done.returncode, (1, 5), "its CA is not known")
        self.assertIn("certificate", self.error(done.errors)["message"])
        trust = {"SSL_CERT_FILE": certificate}
        point = tokyo.json("backup", "s3/photos", env=trust)["points"][0]
        self.restore("--point", point["id"], "--to-bucket", "back")
        self.assertEqual(self.content("b", "back"), state)
        tokyo.json("restore", "tokyo:s3/photos", "--to-bucket", "again", env=trust)
        self.assertEqual(self.content("a", "again"), state)


if __name__ == "__main__":
    main()
