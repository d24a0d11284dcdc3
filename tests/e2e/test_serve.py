"""Points given out over NBD and HTTP, read by the clients that Debian has."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from support import MIB, Case, main, sh


class Serving:
    """A `tidemark serve` that runs."""

    def __init__(self, site, *args):
        self.process = subprocess.Popen(
            site.command("--json", "--log-level", "info", "serve", *args), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        text = ""
        while not text.endswith("\n}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"serve ended: {self.process.stderr.read()}")
            text += line
        self.said = json.loads(text)
        self.nbd, self.http = self.said["nbd"], self.said["http"]

    def stop(self, sig=signal.SIGTERM):
        """The exit code, and what it logged."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            _, errors = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, errors


class Serve(Case):
    def setUp(self):
        super().setUp()
        self.create(mib=72)
        self.fill(20)
        self.fill(6, start=41)
        self.write(60 * MIB + 12345, self.random.randbytes(77777))
        self.first = self.backup()
        self.write(3 * MIB + 4096, self.random.randbytes(300000))
        self.write(30 * MIB, self.random.randbytes(5000))
        self.state, self.point = self.content(), self.backup()
        self.served = []
        self.addCleanup(self.stop_all)

    def serve(self, *args, site=None):
        serving = Serving(site or self.pair.osaka, *args)
        self.served.append(serving)
        return serving

    def stop_all(self):
        for serving in self.served:
            if serving.process.poll() is None:
                serving.process.kill()
                serving.process.communicate()

    def socket_path(self):
        return os.path.join(self.dir, "disk.sock")

    def copied(self, uri, *options):
        path = os.path.join(self.dir, "copy.img")
        sh("nbdcopy", *options, uri, path)
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        return data

    def blocks(self):
        """Of each 4 KiB whether there is data."""
        return [self.state[at:at + 4096] != bytes(4096) for at in range(0, len(self.state), 4096)]

    def test_nbdinfo_says_what_there_is(self):
        serving = self.serve(self.point["id"], "--nbd", self.socket_path())
        self.assertEqual(os.stat(self.socket_path()).st_mode & 0o777, 0o600)
        self.assertEqual((serving.said["point"]["id"], serving.said["size_bytes"]),
                         (self.point["id"], 72 * MIB))
        info = json.loads(sh("nbdinfo", "--json", serving.nbd).stdout)
        self.assertEqual((info["protocol"], info["structured"]), ("newstyle-fixed", True))
        export = info["exports"][0]
        self.assertEqual(export["export-size"], 72 * MIB)
        self.assertEqual(export["contexts"], ["base:allocation"])
        self.assertEqual((export["is_read_only"], export["can_multi_conn"], export["can_df"],
                          export["can_cache"]), (True, True, True, True))
        listed = json.loads(sh("nbdinfo", "--json", "--list", serving.nbd).stdout)["exports"]
        self.assertEqual([e["export-name"] for e in listed], [self.point["id"]])
        self.assertIn("tokyo:rbd/rbd/vol", listed[0]["description"])
        mapped = json.loads(sh("nbdinfo", "--json", "--map", serving.nbd).stdout)
        blocks, end = [False] * len(self.blocks()), 0
        for extent in mapped:
            self.assertEqual(extent["offset"], end)
            end += extent["length"]
            self.assertIn(extent["type"], (0, 3))
            if extent["type"] == 0:
                for block in range(extent["offset"] // 4096, (end + 4095) // 4096):
                    blocks[block] = True
        self.assertEqual((blocks, end), (self.blocks(), len(self.state)))
        code, _ = serving.stop()
        self.assertEqual(code, 0)
        self.assertFalse(os.path.exists(self.socket_path()))

    def test_clients_get_the_bytes_of_their_point(self):
        serving = self.serve(self.point["id"][:12], "--nbd", "127.0.0.1:0")
        self.assert_same(self.copied(serving.nbd), self.state, "nbdcopy")
        self.assert_same(self.copied(serving.nbd, "--connections=1", "--requests=1"), self.state,
                         "nbdcopy, one at a time")
        image = os.path.join(self.dir, "vol.raw")
        with open(image, "wb") as f:
            f.write(self.state)
        sh("qemu-img", "compare", "-f", "raw", "-F", "raw", image, serving.nbd)
        converted = os.path.join(self.dir, "vol.qcow2")
        sh("qemu-img", "convert", "-O", "qcow2", serving.nbd, converted)
        sh("qemu-img", "compare", "-f", "raw", "-F", "qcow2", image, converted)
        self.qemu_io(serving.nbd)
        # The older point, at the same time, by its asset and the other site.
        older = self.serve("rbd/rbd/vol", "--as-of", self.first["time"], "--nbd", "127.0.0.1:0",
                           site=self.pair.tokyo)
        self.assertEqual(older.said["point"]["id"], self.first["id"])
        self.assert_same(self.copied(older.nbd), self.restored(self.first["id"]), "the older point")

    def qemu_io(self, uri):
        for _ in range(20):
            offset = self.random.randrange(len(self.state) // 512) * 512
            length = min(self.random.randrange(1, 200) * 512, len(self.state) - offset)
            out = sh("qemu-io", "-r", "-f", "raw", "-c", f"read -v {offset} {length}", uri).stdout
            got = bytearray()
            for line in out.decode().splitlines():
                place, colon, rest = line.partition(":  ")
                if colon and all(c in "0123456789abcdef" for c in place):
                    got += bytes.fromhex(rest[:47])
            self.assert_same(bytes(got), self.state[offset:offset + length], f"at {offset}")
        written = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 4096", uri],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertNotEqual(written.returncode, 0)

    def test_http_with_ranges(self):
        serving = self.serve(self.point["id"], "--http", "127.0.0.1:0", "--nbd", self.socket_path())
        url = serving.http
        self.assert_same(sh("curl", "-sSf", url).stdout, self.state, "everything")
        for first, last in ((0, 0), (3 * MIB, 5 * MIB), (72 * MIB - 1, 72 * MIB + 9)):
            got = sh("curl", "-sSf", "-r", f"{first}-{last}", url + self.point["id"] + ".raw").stdout
            self.assert_same(got, self.state[first:last + 1], f"{first}-{last}")
        self.assert_same(sh("curl", "-sSf", "-r", "-1000", url).stdout, self.state[-1000:], "the end")
        head = sh("curl", "-sSfI", url).stdout.decode().lower()
        self.assertIn(f"content-length: {72 * MIB}\r\n", head)
        self.assertIn("accept-ranges: bytes\r\n", head)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, headers={"range": "bytes=99999999-"}))
        self.assertEqual(refused.exception.code, 416)
        path = os.path.join(self.dir, "part")  # what broke off goes on
        with open(path, "wb") as f:
            f.write(self.state[:10 * MIB])
        sh("curl", "-sSf", "-C", "-", "-o", path, url)
        with open(path, "rb") as f:
            self.assert_same(f.read(), self.state, "resumed")
        self.assert_same(self.copied(serving.nbd), self.state, "beside it")

    def test_a_new_image_of_ceph_takes_it_as_its_source(self):
        serving = self.serve(self.point["id"], "--http", "127.0.0.1:0")
        source = {"type": "raw", "stream": {"type": "http", "url": serving.http}}
        self.b.rbd("migration", "prepare", "--import-only", "--source-spec", json.dumps(source), "rbd/now")
        self.assert_same(self.content("now", io=self.io["b"]), self.state, "usable at once")
        for step in ("execute", "commit"):
            self.b.rbd("migration", step, "--no-progress", "rbd/now")
        self.assertEqual(serving.stop()[0], 0)
        self.assert_same(self.content("now", io=self.io["b"]), self.state, "without the server")

    def credentials(self, site):
        directory = os.path.join(self.dir, f"pki-{site}")
        os.makedirs(directory)
        for target, source in (("ca-cert.pem", "ca.crt"), ("client-cert.pem", f"{site}.crt"),
                               ("client-key.pem", f"{site}.key")):
            os.symlink(os.path.join(self.pair.pki, source), os.path.join(directory, target))
        return directory

    def test_tls_lets_only_our_site_in(self):
        serving = self.serve(self.point["id"], "--nbd", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls")
        self.assertTrue(serving.nbd.startswith("nbds://"), serving.nbd)
        ours, theirs = self.credentials("osaka"), self.credentials("tokyo")
        uri = f"{serving.nbd}/?tls-certificates="
        self.assert_same(self.copied(uri + ours), self.state, "nbdcopy over TLS")
        port = serving.nbd.rsplit(":", 1)[1]
        image = os.path.join(self.dir, "vol.raw")
        with open(image, "wb") as f:
            f.write(self.state)
        sh("qemu-img", "compare", "--object", f"tls-creds-x509,id=tls,dir={ours},endpoint=client",
           "--image-opts", f"driver=raw,file.driver=file,file.filename={image}",
           f"driver=nbd,host=127.0.0.1,port={port},tls-creds=tls")
        for refused in (["nbdinfo", serving.nbd.replace("nbds:", "nbd:")], ["nbdinfo", uri + theirs]):
            self.assertNotEqual(subprocess.run(refused, capture_output=True).returncode, 0, refused)
        def curl(site):
            return subprocess.run(
                ["curl", "-sSf", "--cacert", f"{self.pair.pki}/ca.crt", "--cert",
                 f"{self.pair.pki}/{site}.crt", "--key", f"{self.pair.pki}/{site}.key",
                 "-r", "0-99999", serving.http], capture_output=True)
        self.assert_same(curl("osaka").stdout, self.state[:100000], "curl over TLS")
        self.assertNotEqual(curl("tokyo").returncode, 0)
        allowed = self.serve(self.point["id"], "--nbd", "127.0.0.1:0", "--tls", "--allow", "tokyo")
        sh("nbdinfo", f"{allowed.nbd}/?tls-certificates={theirs}")
        code, log = serving.stop(signal.SIGINT)
        self.assertEqual(code, 0)
        self.assertIn("site 'tokyo' is not let in", log)

    def test_what_cannot_be_served_is_refused(self):
        def code(*args, site=self.pair.osaka):
            return site.run("serve", *args, code=None).returncode
        self.assertEqual(code(self.point["id"]), 2)
        self.assertEqual(code("ffffffff", "--nbd", "127.0.0.1:0"), 4)
        self.assertEqual(code(self.point["id"], "--nbd", "nonsense"), 2)
        self.assertEqual(code(self.point["id"], "--nbd", "127.0.0.1:0", "--cache", "1K"), 2)
        bare = ("--store", self.pair.store_url, "--key-file", self.pair.key_file)
        self.assertEqual(code(self.point["id"], "--nbd", "0.0.0.0:0", *bare), 2)
        serving = self.serve(self.point["id"], "--nbd", self.socket_path(), *bare)
        self.assert_same(self.copied(serving.nbd), self.state, "from the bare store")
        self.assertEqual(code(self.point["id"], "--nbd", self.socket_path()), 5)  # a living socket
        serving.process.kill()
        serving.process.communicate()
        self.assertTrue(os.path.exists(self.socket_path()))
        self.serve(self.point["id"], "--nbd", self.socket_path())  # a dead one

    def test_bad_clients_hurt_nobody(self):
        serving = self.serve(self.point["id"], "--nbd", "127.0.0.1:0", "--http", "127.0.0.1:0")
        ports = [int(serving.nbd.rsplit(":", 1)[1]), int(serving.http.rsplit(":", 1)[1].strip("/"))]
        open_ones = []
        for i in range(60):
            with socket.create_connection(("127.0.0.1", ports[i % 2]), timeout=5) as one:
                if i % 6 == 0:  # NBD's server speaks first
                    one.recv(18)
                try:
                    one.sendall(self.random.randbytes(self.random.randrange(1, 3000)))
                except OSError:
                    pass
        for port in ports:  # half-open, to the limit
            for _ in range(20):
                open_ones.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        for _ in range(4):  # dies in the middle of a transfer
            copy = subprocess.Popen(["nbdcopy", serving.nbd, "null:"], stderr=subprocess.DEVNULL)
            time.sleep(self.random.random() / 10)
            copy.kill()
            copy.wait()
        self.assert_same(self.copied(serving.nbd, "--connections=2"), self.state, "beside them")
        with open(f"/proc/{serving.process.pid}/status") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
        self.assertLess(peak, 600 * 1024)
        for one in open_ones:
            one.close()
        self.assertEqual(serving.stop()[0], 0)

    def test_the_store_goes_away_and_comes_back(self):
        serving = self.serve(self.point["id"], "--nbd", "127.0.0.1:0", site=self.pair.tokyo)
        self.pair.osaka.stop_agent(sig=signal.SIGKILL)
        copy = subprocess.Popen(["nbdcopy", serving.nbd, os.path.join(self.dir, "copy.img")])
        time.sleep(1)
        self.assertIsNone(copy.poll())  # waits
        self.pair.osaka.start_agent()
        self.assertEqual(copy.wait(60), 0)
        with open(os.path.join(self.dir, "copy.img"), "rb") as f:
            self.assert_same(f.read(), self.state, "after the store was away")

    def test_a_point_that_is_deleted_fails_reads_and_not_the_server(self):
        self.create("gone", mib=8)
        points = []
        for _ in range(2):  # nothing of the first is in the second
            self.fill(8, "gone")
            points.append(self.backup(asset="rbd/rbd/gone"))
        serving = self.serve(points[0]["id"], "--nbd", self.socket_path(), site=self.pair.tokyo)
        sh("qemu-io", "-r", "-f", "raw", "-c", "read 0 4096", serving.nbd)
        self.pair.osaka.run("points", "delete", points[0]["id"])
        for _ in range(2):
            collected = self.pair.osaka.json("gc", "--grace", "0s")
        self.assertGreater(collected["bytes_removed"], 7 * MIB)
        failed = subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", f"read {5 * MIB} 4096",
                                 "-c", "read 0 4096", serving.nbd], capture_output=True, text=True)
        self.assertIn("read failed: Input/output error", failed.stdout + failed.stderr)
        self.assertIn("read 4096/4096 bytes at offset 0", failed.stdout)  # kept in memory
        self.assertEqual(serving.stop()[0], 0)

    def test_a_vast_sparse_image_is_there_at_once(self):
        tib = 1 << 40
        self.create("vast", mib=tib // MIB)
        data = self.random.randbytes(100000)
        self.write(tib // 2 + 5, data, "vast")
        point = self.backup(asset="rbd/rbd/vast")
        began = time.monotonic()
        serving = self.serve(point["id"], "--nbd", self.socket_path(), site=self.pair.tokyo)
        sh("qemu-io", "-r", "-f", "raw", "-c", f"read -v {tib // 2} 512", serving.nbd)
        self.assertLess(time.monotonic() - began, 2)
        out = subprocess.run(["nbdcopy", serving.nbd, os.path.join(self.dir, "vast.img")],
                             timeout=120)
        self.assertEqual(out.returncode, 0)
        with open(os.path.join(self.dir, "vast.img"), "rb") as f:
            f.seek(tib // 2 + 5)
            self.assert_same(f.read(len(data)), data, "what is there")
            self.assertLess(os.fstat(f.fileno()).st_blocks * 512, 16 * MIB)
        code, log = serving.stop()
        self.assertEqual(code, 0)
        self.assertRegex(log, r"ended; \d+(\.\d+)? (KiB|B) were fetched")


if __name__ == "__main__":
    main()
