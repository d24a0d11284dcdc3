"""Uploads that are cut off at a random byte, at the gateway and at our store (figure 11); Complete and Abort
that are sent twice, race, or lose their answers (figure 12).

Nothing of a cut upload is ever seen as a whole, and whatever is listed can be read, garbage collection
included."""

import contextlib
import hashlib
import http.client
import json
import os
import random
import socket
import ssl
import struct
import sys
import threading
import urllib.parse

import botocore.exceptions
from bucket_support import BucketCase, gateway
from s3_proxy import S3Proxy
from support import MIB, main, rounds
import test_faults

PART_BYTES_MIN = 5 * MIB


def close_hard(sock):
    """With a reset, not an orderly end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Cut(BucketCase):
    pair_options = {"encrypted": False}  # packs are made by hand

    def send_cut(self, connect, head, body, at):
        """Announces the whole body and sends `at` bytes of it."""
        sock = connect()
        sock.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:at])
        if self.random.random() < 0.5:
            close_hard(sock)
        else:
            sock.close()

    def put_cut(self, operation, body, at, **where):
        """A PUT to the gateway whose signature is right, so that only the missing bytes are wrong."""
        url = urllib.parse.urlsplit(self.s3["a"].generate_presigned_url(operation, Params=where))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
        self.send_cut(lambda: socket.create_connection((url.hostname, url.port), timeout=30), head, body, at)

    def some_cut(self):
        body = self.random.randbytes(self.random.choice([100, 70_000, 600_000, 5 * MIB]))
        return body, self.random.choice([0, len(body) - 1, self.random.randrange(len(body))])

    def test_a_cut_put_is_not_an_object(self):
        s3, kept = self.s3["a"], {}
        s3.create_bucket(Bucket="photos")
        for number in range(rounds(60)):
            key = f"{number:05}"
            if number % 3 == 0:  # what was there before stays
                kept[key] = b"before " + key.encode()
                s3.put_object(Bucket="photos", Key=key, Body=kept[key])
            body, at = self.some_cut()
            self.put_cut("put_object", body, at, Bucket="photos", Key=key)
            if number % 10 == 0:
                self.assert_holds(kept)
        self.assert_holds(kept)
        print(f"{rounds(60)} cut PUTs, 0 visible", file=sys.stderr)

    def assert_holds(self, kept):
        seen = {key: self.s3["a"].get_object(Bucket="photos", Key=key)["Body"].read()
                for key in gateway.content(self.s3["a"], "photos")}
        self.assertEqual(seen, kept)

    def test_a_cut_part_is_not_a_part(self):
        s3, wanted = self.s3["a"], {}
        s3.create_bucket(Bucket="photos")
        for number in range(rounds(20)):
            where = {"Bucket": "photos", "Key": f"{number:05}"}
            upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
            good = self.random.randbytes(1000)
            etag = s3.upload_part(**upload, PartNumber=1, Body=good)["ETag"]
            # Another part, and the same one again: neither must show.
            for part in (2, 1):
                body, at = self.some_cut()
                self.put_cut("upload_part", body, at, **upload, PartNumber=part)
            listed = s3.list_parts(**upload)["Parts"]
            self.assertEqual([(p["PartNumber"], p["Size"]) for p in listed], [(1, 1000)])
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
            wanted[where["Key"]] = good
        self.assert_holds(wanted)
        print(f"{2 * rounds(20)} cut parts, 0 visible", file=sys.stderr)

    def test_a_cut_pack_is_not_in_the_store(self):
        osaka, maker = self.pair.osaka, test_faults.Requests()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(os.path.join(self.pair.pki, "ca.crt"))
        context.load_cert_chain(os.path.join(self.pair.pki, "tokyo.crt"), os.path.join(self.pair.pki, "tokyo.key"))

        def call(method, path, body=None):
            connection = http.client.HTTPSConnection("127.0.0.1", osaka.port, timeout=60, context=context)
            with contextlib.closing(connection):
                connection.request(method, path, body)
                answer = connection.getresponse()
                return answer.status, answer.read()

        def connect():
            return context.wrap_socket(socket.create_connection(("127.0.0.1", osaka.port), timeout=30))

        def missing(blob):
            status, bits = call("POST", f"/v1/sessions/{session}/missing?fence={fence}",
                                hashlib.sha256(blob).digest())
            self.assertEqual(status, 200, bits)
            return bits != b"\0"
        status, answer = call("POST", "/v1/points", json.dumps({"asset": "s3/photos"}))
        self.assertEqual(status, 200, answer)
        session, fence = (json.loads(answer)[key] for key in ("session", "fence"))
        for number in range(rounds(60)):
            blob = self.random.randbytes(self.random.choice([100, 70_000, 3 * MIB]))
            pack = maker.pack([blob])
            name = hashlib.sha256(pack).hexdigest()
            path = f"/v1/sessions/{session}/packs/{name}?fence={fence}"
            at = self.random.choice([0, len(pack) - 1, self.random.randrange(len(pack))])
            self.send_cut(connect, f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n", pack, at)
            self.assertTrue(missing(blob), f"cut at {at} of {len(pack)}, and taken for whole")
            self.assertNotIn(name, self.packs())
            if number % 10 == 0:  # nothing is in the way of the whole one
                self.assertEqual(call("PUT", path, pack)[0] // 100, 2)
                self.assertFalse(missing(blob))
                self.assertIn(name, self.packs())
        print(f"{rounds(60)} cut packs, 0 visible", file=sys.stderr)

    def packs(self):
        return {name for _, _, names in os.walk(os.path.join(self.pair.store_dir, "packs")) for name in names}


class Complete(BucketCase):
    def collect_garbage(self, name):
        self.clusters[name].radosgw_admin("gc", "process", "--include-all", json=False, timeout=600)

    def unreadable(self, name, bucket, wanted):
        """{key: why} of listed keys that cannot be read. None holds what nobody wrote there."""
        s3, bad = self.s3[name], {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                try:
                    body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
                    bad[entry["Key"]] = str(error)
                    continue
                if hashlib.sha256(body).hexdigest() not in wanted[entry["Key"]]:
                    self.fail(f"{entry['Key']} holds other bytes")
        return bad

    def test_complete_and_abort_that_race_at_the_gateway(self):
        """What no client of ours does, done on purpose: how much the gateway itself can be trusted."""
        s3, wanted = gateway.client(self.users["a"], retries={"max_attempts": 0}), {}
        s3.create_bucket(Bucket="photos")
        kinds = {"twice": ("complete", "complete"), "abort": ("complete", "abort"),
                 "all": ("complete", "abort", "complete", "abort"), "again": ("complete", "part")}
        for number in range(rounds(16)):
            kind = self.random.choice(list(kinds))
            where = {"Bucket": "photos", "Key": f"{number:05} {kind}"}
            upload = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
            bodies = [self.random.randbytes(PART_BYTES_MIN), self.random.randbytes(1000)]
            parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"]}
                     for n, body in enumerate(bodies, 1)]
            wanted[where["Key"]] = {hashlib.sha256(b"".join(bodies)).hexdigest()}

            def act(what):
                try:
                    if what == "complete":
                        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
                    elif what == "abort":
                        s3.abort_multipart_upload(**upload)
                    else:  # the same bytes: whichever wins, the object is the same
                        s3.upload_part(**upload, PartNumber=2, Body=bodies[1])
                except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
                    pass
            threads = [threading.Thread(target=act, args=(what,)) for what in kinds[kind]]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.collect_garbage("a")
        bad = self.unreadable("a", "photos", wanted)
        print(f"{rounds(16)} races of Complete and Abort at the gateway: {len(bad)} listed keys unreadable after "
              f"its garbage collection: {bad}", file=sys.stderr)
        self.check_backup_of_unreadable(bad)

    def check_backup_of_unreadable(self, bad):
        """Whatever the races did to the source, its point has all that can be read, and says what it lacks."""
        done = self.pair.tokyo.run("--json", "--quiet", "backup", "s3/photos", code=3 if bad else 0)
        point = json.loads(done.text)["points"][0]
        self.assertEqual(sorted(one["key"] for one in point["unsettled"]), sorted(bad))
        self.assertEqual({one["code"] for one in point["unsettled"]} - {"corruption"}, set())
        self.restore("--to-bucket", "back")
        self.assertEqual(self.content("b", "back"), gateway.content(self.s3["a"], "photos", without=bad))

    def test_restores_whose_completes_lose_their_answers(self):
        """Ours never send a second Complete, nor an Abort behind one: nothing of theirs becomes garbage."""
        s3, wanted = self.s3["a"], {}
        s3.create_bucket(Bucket="photos")
        objects = rounds(12)
        for number in range(objects):
            body = self.random.randbytes(PART_BYTES_MIN + 1000 + number)
            key = f"{number:05}"
            gateway.put_in_parts(s3, "photos", key, body, part_bytes=PART_BYTES_MIN, Metadata={"n": key})
            wanted[key] = {hashlib.sha256(body).hexdigest()}
        state = self.content("a", "photos")
        self.backup("photos")
        chance, completes, tried = random.Random(self.random.random()), {}, 0

        def misdeed(request):
            if request.method == "POST" and "uploadId" in request.query:
                upload = request.query["uploadId"][0]
                completes[upload] = completes.get(upload, 0) + 1
                return chance.choice([None, "lost", "error after", "lost", "error", "reset"])
            if request.method == "PUT" and "uploadId" in request.query:
                return chance.choice([None, None, "lost", "error after", "throttle"])
            return None
        with S3Proxy(self.clusters["b"].rgw_port, misdeed) as proxy:
            self.pair.osaka.edit_config(self.users["b"]["endpoint"], proxy.endpoint)
            for tried in range(1, 20):
                done = self.pair.osaka.run("--json", "--quiet", "restore", "tokyo:s3/photos", "--to-bucket", "back",
                                           code=None, timeout=400)
                if done.returncode == 0:
                    break
                self.assertEqual(done.returncode, 1, done.errors)
        self.assertEqual(done.returncode, 0, done.errors)
        self.collect_garbage("b")
        self.assertEqual(self.unreadable("b", "back", wanted), {})
        self.assertEqual(self.content("b", "back"), state)
        print(f"{objects} objects in parts, {tried} runs, {sum(completes.values())} Completes, misdeeds {proxy.done}: "
              "0 listed keys unreadable after garbage collection", file=sys.stderr)


if __name__ == "__main__":
    main()
