"""Bad input and faults: wrong certificates, peers, keys and requests, missing clusters, full disks.

Each gets a clear error and a non-zero exit code in bounded time, leaves no half point visible, loses
nothing that was acknowledged, and the next run goes on."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import unittest

import rbd
from support import BINARY, MIB, Case, main, sh  # finds the next one's folder
from ports import free_port
from site_pair import Site


class Faults(Case):
    """What the tests below share: errors in JSON, a third site, requests by hand."""

    def error(self, done, exit_codes, *codes):
        """The error of a failed command: its exit code, and one JSON document with code and message."""
        self.assertIn(done.returncode, exit_codes, done.errors)
        error = json.loads(done.errors.strip().splitlines()[-1])["error"]
        if codes:
            self.assertIn(error["code"], codes, error)
        self.assertTrue(error["message"])
        return error

    def failing(self, site, *args, exit_codes, codes=(), timeout=60):
        return self.error(site.run("--json", "--quiet", *args, code=None, timeout=timeout), exit_codes, *codes)

    def first_point(self, mib=16, used=10):
        self.create(mib=mib)
        self.fill(used)
        return self.content(), self.backup()

    def assert_nothing_lost(self, *points):
        listed = [p["id"] for p in self.pair.osaka.json("points")["points"]]
        self.assertEqual(listed, [p["id"] for p in points])
        self.assert_good_store()

    def kyoto(self):
        """A third site: certificates and a configuration, but nobody has configured it as a peer."""
        self.pair.issue("kyoto")
        site = Site(os.path.join(self.pair.dir, "kyoto"), "kyoto", BINARY, self.a)
        site.write_config(self.pair.tokyo.config_text().replace("tokyo", "kyoto").replace(
            f"127.0.0.1:{self.pair.tokyo.port}\n", f"127.0.0.1:{site.port}\n"))
        return site

    def restart_osaka(self, peers):
        """With other peers in its configuration."""
        self.pair.osaka.stop_agent()
        self.pair.osaka.edit_config("peers:\n  tokyo: {}\n", f"peers:\n  tokyo: {{}}\n{peers}")
        self.pair.osaka.start_agent()

    def context(self, name="tokyo", pki=None):
        pki = pki or self.pair.pki
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(os.path.join(pki, "ca.crt"))
        context.load_cert_chain(os.path.join(pki, f"{name}.crt"), os.path.join(pki, f"{name}.key"))
        return context

    def call(self, method, path, body=None, site="tokyo", headers=None):
        """One request as any HTTP client makes it; returns status and body, parsed where it is JSON."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.pair.osaka.port, timeout=30,
                                                 context=self.context(site))
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        if answer.headers.get("content-type") == "application/json":
            data = json.loads(data)
        return answer.status, data

    def begin(self, asset="rbd/rbd/vol", **kwargs):
        status, answer = self.call("POST", "/v1/points", json.dumps({"asset": asset}), **kwargs)
        self.assertEqual(status, 200, answer)
        return answer["session"], answer["fence"]

    def assert_refused(self, answer, status):
        self.assertEqual(answer[0], status, answer)
        self.assertTrue(answer[1]["error"]["message"])


class Certificates(Faults):
    def expired(self, site, directory):
        """A certificate of the right CA for the right site whose time is over."""
        os.makedirs(directory)
        key, request, config = (os.path.join(directory, n) for n in (f"{site}.key", "csr", "ca.cnf"))
        with open(config, "w") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={directory}/index\nserial={directory}/serial\n"
                    f"new_certs_dir={directory}\n"
                    "default_md=sha256\npolicy=p\n[p]\ncommonName=optional\n[x]\n"
                    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                    "extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid:always\n"
                    f"subjectAltName=URI:tidemark://site/{site},IP:127.0.0.1,DNS:localhost\n")
        open(os.path.join(directory, "index"), "w").close()
        sh("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-keyout", key, "-subj", f"/CN={site}", "-out", request)
        sh("openssl", "ca", "-batch", "-config", config, "-extensions", "x", "-notext", "-rand_serial",
           "-cert", os.path.join(self.pair.pki, "ca.crt"), "-keyfile", os.path.join(self.pair.pki, "ca.key"),
           "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-in", request,
           "-out", os.path.join(directory, f"{site}.crt"))
        return directory

    def test_a_certificate_that_does_not_hold_is_refused_by_both_ends(self):
        state, point = self.first_point()
        other = os.path.join(self.dir, "other-pki")
        sh(BINARY, "pki", "init", other)
        for site in ("tokyo", "osaka"):
            sh(BINARY, "pki", "issue", other, "--site", site, "--host", "127.0.0.1")
        old = {s: self.expired(s, os.path.join(self.dir, f"expired-{s}")) for s in ("tokyo", "osaka")}
        tokyo, osaka = self.pair.tokyo, self.pair.osaka

        def tls(site, directory):
            return f"cert: {directory}/{site}.crt, key: {directory}/{site}.key"

        for directory in (old["tokyo"], other):
            tokyo.edit_config(tls("tokyo", self.pair.pki), tls("tokyo", directory))
            error = self.failing(tokyo, "backup", "rbd/rbd/vol", exit_codes=(5,), codes=("permission_denied",))
            self.assertIn("certificate", error["message"].lower())
            if directory is not other:
                self.assertIn("expired", error["message"])
            self.failing(tokyo, "points", exit_codes=(5,))
            tokyo.edit_config(tls("tokyo", directory), tls("tokyo", self.pair.pki))
        # Another site's certificate is no identity either, though the CA is the right one.
        tokyo.edit_config("site: tokyo", "site: kyoto")
        self.failing(tokyo, "backup", "rbd/rbd/vol", exit_codes=(2, 5))
        tokyo.edit_config("site: kyoto", "site: tokyo")
        for directory in (old["osaka"], other):
            osaka.stop_agent()
            osaka.edit_config(tls("osaka", self.pair.pki), tls("osaka", directory))
            try:
                osaka.start_agent()
            except RuntimeError as refusal:  # it may as well refuse to serve with it
                self.assertIn("certificate", str(refusal))
            else:
                error = self.failing(tokyo, "backup", "rbd/rbd/vol", exit_codes=(5,))
                self.assertIn("certificate", error["message"].lower())
            osaka.edit_config(tls("osaka", directory), tls("osaka", self.pair.pki))
        osaka.stop_agent()
        osaka.start_agent()
        self.assertEqual(len(self.snapshots()), 1)
        self.assert_nothing_lost(point)
        again = self.backup()
        self.assertEqual(again["mode"], "incremental")
        self.assert_same(self.restored(again["id"]), state, "after the refusals")

    def test_renewed_certificates_and_a_new_ca_need_no_restart(self):
        self.first_point()
        agent = self.pair.osaka.agent.pid

        def serial():
            with socket.create_connection(("127.0.0.1", self.pair.osaka.port), timeout=10) as plain:
                context = self.context()
                with context.wrap_socket(plain) as tls:
                    return tls.getpeercert()["serialNumber"]

        before = serial()
        self.pair.issue("tokyo")
        self.pair.issue("osaka")
        self.backup()
        self.assertNotEqual(serial(), before)
        # To another CA: first both are believed, then the sites move over, then the old one goes.
        new, kept = os.path.join(self.dir, "new-pki"), os.path.join(self.dir, "kept-pki")
        shutil.copytree(self.pair.pki, kept)
        sh(BINARY, "pki", "init", new)
        for site in ("tokyo", "osaka"):
            sh(BINARY, "pki", "issue", new, "--site", site, "--host", "127.0.0.1", "--host", "localhost")

        def place(name, *sources):
            temporary = os.path.join(self.pair.pki, "new")
            with open(temporary, "wb") as out:
                for source in sources:
                    with open(source, "rb") as f:
                        out.write(f.read())
            os.replace(temporary, os.path.join(self.pair.pki, name))

        place("ca.crt", f"{kept}/ca.crt", f"{new}/ca.crt")
        self.backup()
        for site in ("tokyo", "osaka"):
            place(f"{site}.key", f"{new}/{site}.key")
            place(f"{site}.crt", f"{new}/{site}.crt")
            self.backup()
        place("ca.crt", f"{new}/ca.crt")
        point = self.backup()
        self.assertEqual(self.pair.osaka.agent.pid, agent)
        self.assertIsNone(self.pair.osaka.agent.poll())
        for name in ("tokyo.key", "tokyo.crt"):
            place(name, f"{kept}/{name}")
        self.failing(self.pair.tokyo, "backup", "rbd/rbd/vol", exit_codes=(5,), codes=("permission_denied",))
        for name in ("tokyo.key", "tokyo.crt"):
            place(name, f"{new}/{name}")
        self.assertEqual(self.backup()["parent"], point["id"])

    def test_a_site_sees_what_it_is_granted_and_no_more(self):
        state, point = self.first_point()
        kyoto = self.kyoto()
        path = os.path.join(self.dir, "stolen.img")
        restore = ["restore", "tokyo:rbd/rbd/vol", "--to-file", path]
        for args in (["points"], ["backup", "rbd/rbd/vol"], restore):
            error = self.failing(kyoto, *args, exit_codes=(5,), codes=("permission_denied",))
            self.assertIn("kyoto", error["message"])
        self.restart_osaka("  kyoto: {}\n")
        self.assertEqual(kyoto.json("points")["points"], [])
        for args in (restore, [*restore, "--point", point["id"]], ["points", "show", point["id"]],
                     ["points", "tokyo:rbd/rbd/vol"]):
            self.failing(kyoto, *args, exit_codes=(4,), codes=("not_found",))
        self.assertFalse(os.path.exists(path))
        self.failing(kyoto, "points", "delete", point["id"], exit_codes=(4, 5))
        # What it writes is its own, under whatever name.
        session, fence = self.begin(site="kyoto")
        self.assert_refused(self.call("POST", f"/v1/sessions/{session}/missing?fence={fence}", b"\0" * 32), 403)
        self.pair.osaka.edit_config("  kyoto: {}\n", "  kyoto: { read: [ \"tokyo:rbd/rbd/other-*\" ] }\n")
        self.restart_osaka("")
        self.failing(kyoto, *restore, exit_codes=(4,))
        self.pair.osaka.edit_config("rbd/rbd/other-*", "rbd/rbd/*")
        self.restart_osaka("")
        self.assertEqual([p["id"] for p in kyoto.json("points")["points"]], [point["id"]])
        self.assert_same(self.restored(point["id"], site=kyoto), state, "granted")
        self.failing(kyoto, "points", "delete", point["id"], exit_codes=(5,))
        self.assert_nothing_lost(point)


class Requests(Faults):
    """The protocol, by hand, against a store that runs and keeps running."""

    pair_options = {"encrypted": False}

    def put(self, session, fence, body, name=None, **kwargs):
        name = name or hashlib.sha256(body).hexdigest()
        return self.call("PUT", f"/v1/sessions/{session}/packs/{name}?fence={fence}", body, **kwargs)

    @staticmethod
    def varint(n):
        out = bytearray()
        while n > 127:
            out.append(n & 127 | 128)
            n >>= 7
        return bytes(out) + bytes([n])

    def pack(self, blobs, stored=None, plain=None, version=1, kind=1, codec=0, entries=None, flags=0,
             index_at=None, broken_index=False):
        """As docs/format/pack.md has it, with lies where told."""
        head = b"TMPACK\0\1" + struct.pack("<HHI", version, flags, 64) + bytes(48)
        body, index = b"".join(blobs), b""
        for blob in blobs:
            index += hashlib.sha256(blob).digest() + bytes([kind, codec])
            index += self.varint(len(blob) if stored is None else stored)
            index += self.varint(len(blob) if plain is None else plain)
        digest = hashlib.sha256(index + (b"x" if broken_index else b"")).digest()
        return head + body + index + struct.pack(
            "<QII", 64 + len(body) if index_at is None else index_at, len(index),
            len(blobs) if entries is None else entries) + digest + struct.pack("<H6x", 1) + b"TMPKEND\1"

    def test_packs_that_are_none(self):
        _, point = self.first_point()
        session, fence = self.begin()
        good = self.pack([b"one", b"two"])
        bad = {
            "nothing": b"", "one byte": b"x", "garbage": self.random.randbytes(100000),
            "zeros": bytes(4096), "cut short": good[:-1], "longer": good + b"\0",
            "without its end": good[:100], "its end alone": good[-64:],
            "a newer version": self.pack([b"one"], version=2),
            "another mode": self.pack([b"one"], flags=1),
            "unknown kind": self.pack([b"one"], kind=3), "unknown codec": self.pack([b"one"], codec=9),
            "a bomb of 1 TiB": self.pack([b"one"], plain=1 << 40, codec=1),
            "a chunk of 9 MiB": self.pack([b"one"], plain=9 << 20, codec=1),
            "stored more than there is": self.pack([b"one"], stored=1 << 40),
            "stored overflows": self.pack([b"one"] * 2, stored=(1 << 63) + 2),
            "less entries": self.pack([b"one", b"two"], entries=1),
            "more entries": self.pack([b"one", b"two"], entries=3),
            "billions of entries": self.pack([b"one"], entries=(1 << 32) - 1),
            "index elsewhere": self.pack([b"one"], index_at=1 << 62),
            "index before": self.pack([b"one"], index_at=0),
            "wrong index digest": self.pack([b"one"], broken_index=True),
        }
        for what, body in bad.items():
            with self.subTest(what):
                status, answer = self.put(session, fence, body)
                self.assertIn(status, (400, 501), answer)
                self.assertTrue(answer["error"]["message"])
        with self.subTest("another name"):
            self.assert_refused(self.put(session, fence, good, name="0" * 64), 400)
        for name in ("../" + "0" * 61, "0" * 63, "0" * 65, "g" * 64, "0" * 62 + "%00"):
            with self.subTest(name):
                self.assertIn(self.put(session, fence, good, name=name)[0], (400, 404))
        self.assertEqual(self.put(session, fence, good), (200, {}))
        self.assertEqual(self.put(session, fence, good), (200, {}))  # a repetition
        self.assertIn(self.put("0" * 32, fence, good)[0], (404, 409))
        self.assert_refused(self.put(session, fence + 1, good), 409)
        newer, newer_fence = self.begin()
        self.assertGreater(newer_fence, fence)
        self.assert_refused(self.put(session, fence, good), 409)
        self.assertEqual(self.put(newer, newer_fence, good), (200, {}))
        # The store still does its work: its own requests were never in doubt.
        self.assert_nothing_lost(point)
        self.assertEqual(self.backup()["mode"], "incremental")

    def raw(self, head, body, wait=True):
        """Bytes on a TLS connection; the first answer's status, None where it was closed without one."""
        with socket.create_connection(("127.0.0.1", self.pair.osaka.port), timeout=40) as plain:
            with self.context().wrap_socket(plain) as tls:
                tls.sendall(head.encode() + body)
                answer = b""
                try:
                    while wait and b"\r\n" not in answer:
                        more = tls.recv(4096)
                        if not more:
                            break
                        answer += more
                except OSError:
                    pass
        return int(answer.split()[1]) if answer.startswith(b"HTTP/") else None

    def test_bodies_longer_and_shorter_than_announced(self):
        _, point = self.first_point()
        session, fence = self.begin()
        good = self.pack([self.random.randbytes(100000)])
        name = hashlib.sha256(good).hexdigest()

        def head(length, more=""):
            return (f"PUT /v1/sessions/{session}/packs/{name}?fence={fence} HTTP/1.1\r\nHost: x\r\n"
                    f"Content-Length: {length}\r\n{more}\r\n")

        def packs():
            return self.call("GET", "/v1/store")[1]["packs"]

        before = packs()
        self.raw(head(len(good)), good[:-1000], wait=False)
        # What is left over may reset the connection before the answer is read.
        self.assertIn(self.raw(head(len(good) - 1000), good), (400, None))
        self.assertIn(self.raw(head(1 << 40), good), (400, 413, None))
        self.assertIn(self.raw(head(-1), good), (400, None))
        self.assertIn(self.raw(head(len(good), "Content-Length: 5\r\n"), good), (400, None))
        self.assertIn(self.raw(head(len(good), "Transfer-Encoding: chunked\r\n"), good), (400, 501, None))
        self.assertIn(self.raw("GET /v1/store HTTP/1.1\r\nHost: x\r\nX: " + "y" * 100000, b""),
                      (400, 431, None))
        self.assertIn(self.raw("nonsense\r\n\r\n", b"\0\xff"), (400, None))
        self.assertEqual(packs(), before)
        self.assertEqual(self.raw(head(len(good)), good), 200)
        self.assertEqual(packs(), before + 1)
        self.assert_nothing_lost(point)

    def record(self, session, asset="rbd/rbd/vol", site="tokyo", store=None, root=b"\x11" * 32, level=0,
               entries=1):
        def text(s):
            return self.varint(len(s)) + s.encode()
        store = store or bytes.fromhex(self.call("GET", "/v1/store")[1]["id"])
        return (b"TMPOINT1" + struct.pack("<HBB", 1, 1, 0) + bytes.fromhex(session) + store + bytes(16)
                + struct.pack("<q", time.time_ns() // 1000) + root + bytes([level]) + self.varint(entries)
                + self.varint(16 * MIB) + self.varint(4 * MIB) + self.varint(0) * 3
                + text(site) + text(asset) + text("") + self.varint(0) + text("{}") + bytes(32))

    def test_commits_of_what_is_not_there(self):
        state, point = self.first_point()
        session, fence = self.begin()

        def commit(record, session=session, fence=fence, **kwargs):
            return self.call("POST", f"/v1/sessions/{session}/commit?fence={fence}", record, **kwargs)

        self.assert_refused(commit(self.record(session)), 422)  # its root is missing
        node = bytes(2) + self.random.randbytes(50)
        self.put(session, fence, self.pack([node]))
        chunk = hashlib.sha256(node).digest()
        status, answer = commit(self.record(session, root=chunk))
        self.assertIn(status, (400, 409, 422), answer)  # its root is a chunk
        self.assert_refused(commit(self.record(session, store=b"\1" * 16)), 400)
        self.assert_refused(commit(self.record(session, site="osaka")), 403)
        self.assert_refused(commit(self.record(session, asset="rbd/rbd/else")), 400)
        self.assert_refused(commit(self.record("1" * 32)), 400)
        for damaged in (b"", b"x", self.record(session)[:-1], self.record(session) + b"\0"):
            status, answer = commit(damaged)
            self.assertIn(status, (400, 422), answer)
        self.assert_refused(commit(self.record(session), fence=fence + 1), 409)
        for asset in ("rbd/rbd/../vol", "rbd/rbd/a\nb", "", "rbd", "nfs/x", "rbd/rbd/" + "x" * 5000, "rbd//vol"):
            with self.subTest(asset):
                self.assert_refused(self.call("POST", "/v1/points", json.dumps({"asset": asset})), 400)
        for body in (b"", b"[", b"[1]", b"{\"asset\":5}", b"[" * 50000, b"\xff\xfe"):
            with self.subTest(body[:9]):
                self.assert_refused(self.call("POST", "/v1/points", body), 400)
        for path in ("/", "/v1", "/v1/", "/v1/../v1/store", "/v1/points/..", "/%00", "/v2/store"):
            with self.subTest(path):
                self.assertIn(self.call("GET", path)[0], (400, 404))
        self.assert_refused(self.call("POST", f"/v1/sessions/{session}/missing?fence={fence}", b"x" * 33), 400)
        self.assert_refused(self.call("POST", "/v1/locate", hashlib.sha256(b"none").digest()), 422)
        for verb in ("delete", "pin"):
            self.assert_refused(self.call("POST", f"/v1/points/{point['id']}/{verb}"), 403)
        self.assert_nothing_lost(point)
        self.assert_same(self.restored(point["id"]), state, "after hostile requests")
        self.assertEqual(self.backup()["mode"], "incremental")


class Environment(Faults):
    def test_names_that_are_none(self):
        self.first_point()
        for asset in ("rbd/rbd/../vol", "rbd/../rbd/vol", "rbd/rbd/..", "rbd/rbd/a\nb", "rbd/rbd/a\x1b[31m",
                      "rbd/rbd/\x7f", "rbd/rbd/", "rbd//vol", "/rbd/rbd/vol", "", "rbd/rbd/a/b/c"):
            with self.subTest(repr(asset)):
                for args in (["backup", asset], ["restore", asset, "--to", "rbd/x"], ["points", asset]):
                    done = self.pair.tokyo.run("--json", "--quiet", *args, code=None)
                    if args[0] == "points" and asset == "":
                        continue
                    self.assertEqual(done.returncode, 2, (args, done.errors))
                    self.assertNotIn("\x1b", done.errors)
        for target in ("../x", "rbd/..", "rbd/a@b", "rbd/\n"):
            done = self.pair.tokyo.run("restore", "rbd/rbd/vol", "--to", target, code=None)
            self.assertEqual(done.returncode, 2, (target, done.errors))
        self.assertEqual(rbd.RBD().list(self.io["a"]), ["vol"])

    def test_a_wrong_key(self):
        state, point = self.first_point()
        with open(self.pair.key_file) as f:
            right = f.read()
        for text, exit_codes in (("tidemark-key-1 " + "ab" * 32 + "\n", (5,)), ("", (2, 5)), ("nonsense\n", (2, 5)),
                                 (right[:-3] + "\n", (2, 5)), (None, (2, 4, 5))):
            path = os.path.join(self.dir, "wrong.key")
            if text is not None:
                with open(path, "w") as f:
                    f.write(text)
                os.chmod(path, 0o600)
            else:
                os.unlink(path)
            self.pair.tokyo.edit_config(self.pair.key_file, path)
            error = self.failing(self.pair.tokyo, "backup", "rbd/rbd/vol", exit_codes=exit_codes)
            self.assertNotIn("abab", json.dumps(error))
            self.failing(self.pair.tokyo, "restore", "rbd/rbd/vol", "--to", "rbd/x", exit_codes=exit_codes)
            self.pair.tokyo.edit_config(path, self.pair.key_file)
        self.assertEqual(len(self.snapshots()), 1)
        self.assertEqual(rbd.RBD().list(self.io["a"]), ["vol"])
        self.assert_nothing_lost(point)
        self.assert_same(self.restored(self.backup()["id"]), state, "with the right key")

    def test_a_second_agent_on_one_store_is_refused(self):
        _, point = self.first_point()
        second = Site(os.path.join(self.pair.dir, "second"), "osaka", BINARY, self.b)
        second.write_config(self.pair.osaka.config_text())
        second.edit_config(f"127.0.0.1:{self.pair.osaka.port}\n", f"127.0.0.1:{second.port}\n")
        second.edit_config(f"state: {self.pair.osaka.dir}", f"state: {second.dir}")
        self.failing(second, "agent", exit_codes=(5,), codes=("refused",), timeout=30)
        self.failing(self.pair.osaka, "agent", exit_codes=(1, 5), timeout=30)
        self.assertIsNone(self.pair.osaka.agent.poll())
        self.assertEqual(self.backup()["parent"], point["id"])

    def test_a_cluster_that_does_not_answer(self):
        state, point = self.first_point()
        conf = os.path.join(self.dir, "nobody.conf")
        with open(self.a.conf) as f:
            lines = [f"mon host = [v2:127.0.0.1:{free_port()}/0]\n" if line.startswith("mon host") else line
                     for line in f]
        with open(conf, "w") as f:
            f.writelines(lines)
        self.pair.tokyo.edit_config(self.a.conf, conf)
        begun = time.monotonic()
        self.failing(self.pair.tokyo, "backup", "rbd/rbd/vol", exit_codes=(1,), codes=("unavailable", "deadline_exceeded"))
        self.assertLess(time.monotonic() - begun, 30)
        self.pair.tokyo.edit_config(conf, self.a.conf)
        # One that pauses is waited for.
        self.fill(6, start=8)
        state = self.content()
        with open(os.path.join(self.a.dir, "osd.pid")) as f:
            osd = int(f.read())
        backup = subprocess.Popen(self.pair.tokyo.command("--json", "--quiet", "backup", "rbd/rbd/vol"),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            time.sleep(self.random.random() * 0.5)
            os.kill(osd, signal.SIGSTOP)
            time.sleep(3)
        finally:
            os.kill(osd, signal.SIGCONT)
        out, err = backup.communicate(timeout=60)
        self.assertEqual(backup.returncode, 0, err)
        second = json.loads(out)["points"][0]
        self.assert_same(self.restored(second["id"]), state, "after a pause")
        self.assert_nothing_lost(point, second)

    def test_an_image_that_vanishes_under_the_backup(self):
        self.create("other", mib=8)
        self.write(MIB, b"other" * 1000, "other")
        other = self.backup(asset="rbd/rbd/other")
        self.create(mib=96)
        self.fill(64)
        backup = subprocess.Popen(self.pair.tokyo.command("--json", "--quiet", "backup", "rbd/rbd/vol"),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self.snapshots() and backup.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with rbd.Image(self.io["a"], "vol") as image:
            prefix = image.stat()["block_name_prefix"]
            for snapshot in list(image.list_snaps()):
                image.remove_snap(snapshot["name"])
        try:
            rbd.RBD().remove(self.io["a"], "vol")
        except rbd.ImageBusy:  # the backup has it open: its data goes all the same
            for thing in list(self.io["a"].list_objects()):
                if thing.key.startswith(prefix):
                    self.io["a"].remove_object(thing.key)
        out, err = backup.communicate(timeout=120)
        kept = [other]
        if backup.returncode == 0:
            kept.append(json.loads(out)["points"][0])
        else:
            self.assertIn(backup.returncode, (1, 4, 5), err)
            self.assertTrue(json.loads(err.decode().strip().splitlines()[-1])["error"]["message"])
        self.assertNotEqual(backup.returncode, 0, "the image went after the backup's snapshot came")
        self.assert_nothing_lost(*kept)
        self.remove_images(self.io["a"])
        self.create(mib=16)
        self.fill(5)
        state, point = self.content(), self.backup()
        self.assertEqual(point["mode"], "first")
        self.assert_same(self.restored(point["id"]), state, "made anew")


@unittest.skipUnless(os.geteuid() == 0, "mounting a small file system needs root")
class FullDisk(Faults):
    def setUp(self):
        super().setUp()
        self.pair.osaka.stop_agent()
        aside = os.path.join(self.dir, "aside")
        os.rename(self.pair.store_dir, aside)
        os.mkdir(self.pair.store_dir)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", self.pair.store_dir]).returncode:
            self.skipTest("tmpfs cannot be mounted here")
        self.addCleanup(sh, "umount", "--lazy", self.pair.store_dir)
        self.addCleanup(self.pair.stop)
        shutil.copytree(aside, self.pair.store_dir, dirs_exist_ok=True)
        self.pair.osaka.start_agent()

    def test_the_next_run_goes_on_when_there_is_room_again(self):
        state, first = self.first_point(mib=96, used=16)
        before = self.call("GET", "/v1/store")[1]
        self.fill(64, start=20)
        for _ in range(2):
            done = self.pair.tokyo.run("--json", "--quiet", "backup", "rbd/rbd/vol", code=None, timeout=100)
            error = self.error(done, (1,), "resource_exhausted")
            self.assertTrue(error["message"])
            self.assertEqual(len(self.snapshots()), 1, "the base only")
            self.assert_nothing_lost(first)
        self.assert_same(self.restored(first["id"]), state, "with a full disk")
        # A full store that is started again is still a store.
        self.pair.osaka.stop_agent()
        self.pair.osaka.start_agent()
        self.assert_nothing_lost(first)
        arrived = self.call("GET", "/v1/store")[1]["pack_bytes"] - before["pack_bytes"]
        self.assertGreater(arrived, 8 * MIB)
        sh("mount", "-o", "remount,size=200m", self.pair.store_dir)
        state, second = self.content(), self.backup()
        self.assertEqual(second["mode"], "incremental")
        self.assertLess(second["shipped_bytes"], 64 * MIB - arrived + MIB, "what arrived is not sent again")
        self.assert_same(self.restored(second["id"]), state, "with room")
        self.assert_nothing_lost(first, second)


class Unreachable(unittest.TestCase):
    """A peer that is not there: tried for a minute, so it is begun before the other tests."""

    @classmethod
    def begin(cls):
        cls.dir = tempfile.mkdtemp(prefix="tidemark-e2e-")
        site = Site(os.path.join(cls.dir, "tokyo"), "tokyo", BINARY, None)
        pki = os.path.join(cls.dir, "pki")
        sh(BINARY, "pki", "init", pki)
        sh(BINARY, "pki", "issue", pki, "--site", "tokyo", "--host", "127.0.0.1")
        with open(site.config_path, "w") as f:
            f.write(f"site: tokyo\ntls: {{ cert: {pki}/tokyo.crt, key: {pki}/tokyo.key, ca: {pki}/ca.crt }}\n"
                    f"state: {site.dir}/state\npeers:\n"
                    f"  osaka: {{ url: \"https://127.0.0.1:{free_port()}\" }}\n")
        cls.begun = time.monotonic()
        cls.process = subprocess.Popen(site.command("--json", "--quiet", "points"),
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @classmethod
    def tearDownClass(cls):
        cls.process.kill()
        cls.process.communicate()
        shutil.rmtree(cls.dir, ignore_errors=True)

    def test_zz_it_is_given_up_with_an_error_after_a_minute(self):
        out, err = self.process.communicate(timeout=max(5.0, self.begun + 100 - time.monotonic()))
        self.assertEqual((self.process.returncode, out), (1, b""))
        error = json.loads(err.decode().strip().splitlines()[-1])["error"]
        self.assertEqual(error["code"], "unavailable")
        self.assertIn("127.0.0.1", error["message"])


def setUpModule():
    Unreachable.begin()


if __name__ == "__main__":
    main()
