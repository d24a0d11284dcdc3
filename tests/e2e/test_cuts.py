"""Connections that are cut at random bytes, by resets, by orderly ends and by silence (figure 20).

The source tries again by itself. A backup ends with the right point, or with a clean error and the next
run succeeds; what the store has acknowledged is not sent again."""

import contextlib
import json
import os
import subprocess
import sys
import time

from support import BUILD, MIB, Case, main, rounds

PROXY = os.path.join(BUILD, "tests/transport/tidemark_tcp_proxy")


class Proxy:
    """tidemark_tcp_proxy in front of a port; its counts are known once it has ended."""

    def __init__(self, to, **options):
        words = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        self.process = subprocess.Popen([PROXY, f"--to={to}", *words], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.up = self.down = self.connections = self.cuts = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        words = self.process.communicate(timeout=30)[1].split()[-8:]
        self.up, self.down, self.connections, self.cuts = (int(n) for n in words[1::2])


class Cuts(Case):
    def setUp(self):
        self.assertTrue(os.path.exists(PROXY), f"{PROXY} is not built")
        super().setUp()

    @contextlib.contextmanager
    def through(self, **options):
        with Proxy(self.pair.osaka.port, seed=self.random.randrange(1 << 32), **options) as proxy:
            self.pair.write_config(self.pair.tokyo, port=proxy.port)
            try:
                yield proxy
            finally:
                self.pair.write_config(self.pair.tokyo)

    def pack_bytes(self):
        return sum(os.path.getsize(os.path.join(at, name))
                   for at, _, names in os.walk(os.path.join(self.pair.store_dir, "packs")) for name in names)

    def backup_through(self, mib, **options):
        """A backup of `mib` new MiB; returns the proxy, whether the first run succeeded, and what was sent
        again: bytes that went up beyond those that the store now holds."""
        self.fill(mib)
        state, before = self.content(), self.pack_bytes()
        with self.through(**options) as proxy:
            done = self.pair.tokyo.run("--json", "--quiet", "backup", "rbd/rbd/vol", code=None, timeout=120)
        arrived = self.pack_bytes() - before
        ok = done.returncode == 0
        if ok:
            point = json.loads(done.text)["points"][0]
        else:
            self.assertEqual(done.returncode, 1, done.errors)
            error = json.loads(done.errors.strip().splitlines()[-1])["error"]
            self.assertIn(error["code"], ("unavailable", "deadline_exceeded"))
            point = self.backup()
            self.assertLess(point["shipped_bytes"], mib * MIB - arrived + MIB, "arrived, and sent again")
        self.assert_same(self.restored(point["id"]), state, f"{options}")
        self.assertEqual(len(self.snapshots()), 1)
        # A pack that was sent a second time under another name would show here.
        self.assertLess(self.pack_bytes() - before, (mib + 1) * MIB)
        return proxy, ok, proxy.up - arrived

    def test_cuts_at_random_bytes(self):
        self.create(mib=24)
        total, first_time, again, worst = rounds(4), 0, 0, 0
        cuts = 0
        for number in range(total):
            most = self.random.choice([300_000, 3_000_000, 12_000_000, 30_000_000])
            proxy, ok, resent = self.backup_through(
                20, mode=self.random.choice(["rst", "fin"]), cut_random_max=most,
                cut_times=self.random.randrange(1, 6))
            # A cut costs at most what its connection had carried: whatever was acknowledged stays.
            self.assertLessEqual(resent, proxy.cuts * most + MIB, f"round {number}")
            first_time, cuts = first_time + ok, cuts + proxy.cuts
            again, worst = again + resent, max(worst, resent)
        self.assertGreater(cuts, 0, "nothing was cut")
        points = self.pair.osaka.json("points")["points"]
        self.assertEqual(len(points), total)
        self.assert_good_store()
        print(f"{total} backups of 20 MiB, {cuts} cuts: {first_time} succeeded at once, the others with the next "
              f"run; {again / MIB:.1f} MiB sent again, at most {worst / MIB:.1f} in one", file=sys.stderr)

    def test_what_was_acknowledged_before_a_cut_is_not_sent_again(self):
        self.create(mib=48)
        # The first packs pass, then the connection goes; never again after that.
        proxy, _, resent = self.backup_through(44, mode="rst", cut_after_up=20 * MIB, cut_times=1)
        self.assertEqual(proxy.cuts, 1)
        self.assertLessEqual(resent, 17 * MIB, "more than the one pack that was under way")
        print(f"{resent / MIB:.1f} of 44 MiB sent again after a cut", file=sys.stderr)

    def test_silence_is_noticed(self):
        self.create(mib=12)
        begun = time.monotonic()
        proxy, _, _ = self.backup_through(10, mode="blackhole", cut_after_up=3_000_000, cut_times=1)
        self.assertEqual(proxy.cuts, 1)
        self.assertLess(time.monotonic() - begun, 90)

    def test_a_restore_through_cuts(self):
        self.create(mib=24)
        self.fill(20)
        state, point = self.content(), self.backup()
        cuts = 0
        for number in range(rounds(3)):
            path = os.path.join(self.dir, f"back-{number}.img")
            with self.through(mode=self.random.choice(["rst", "fin"]), cut_times=self.random.randrange(1, 6),
                              cut_random_max=self.random.choice([20_000, 1_000_000, 9_000_000])) as proxy:
                self.pair.restore_to_file(path, point=point["id"], site=self.pair.tokyo, timeout=120)
            cuts += proxy.cuts
            with open(path, "rb") as f:
                self.assert_same(f.read(), state, "restored through cuts")
            os.unlink(path)
        self.assertGreater(cuts, 0, "nothing was cut")
        print(f"{rounds(3)} restores right over {cuts} cuts", file=sys.stderr)


if __name__ == "__main__":
    main()
