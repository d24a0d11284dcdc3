"""Images of every kind: layouts, features, sizes, clones, re-creation, and histories in which fast-diff
is known to lose changes."""

import os

import rbd
from support import MIB, Case, main

ALL_FEATURES = 1 | 4 | 8 | 16


class Images(Case):
    def follow(self, name, changes, io=None, asset=None):
        """Takes a point after each change and holds every point against what the image was."""
        asset = asset or f"rbd/rbd/{name}"
        states = []
        for change in changes:
            change()
            states.append(self.content(name, io=io))
            point = self.backup(asset=asset)
            self.assert_same(self.restored(point["id"], asset=f"tokyo:{asset}"), states[-1],
                             f"point {len(states)}")
        self.assert_good_store()
        return states

    def edit(self, name, function, io=None):
        def change():
            with rbd.Image(io or self.io["a"], name) as image:
                function(image)
        return change

    def test_discards_and_zeroes_become_holes(self):
        self.create(mib=24)
        self.follow("vol", [
            lambda: self.fill(20),
            self.edit("vol", lambda i: i.discard(4 * MIB, 4 * MIB)),
            self.edit("vol", lambda i: i.discard(9 * MIB + 4096, 65536)),
            self.edit("vol", lambda i: i.write(b"\0" * MIB, 13 * MIB)),
            self.edit("vol", lambda i: i.discard(0, 24 * MIB)),
        ])
        self.assertEqual(self.pair.osaka.json("points")["points"][-1]["shipped_bytes"], 0)

    def test_size_changes_in_both_directions(self):
        self.create(mib=12)

        def shrink_snapshot_grow(image):
            image.resize(3 * MIB)
            image.create_snap("of-somebody-else")
            image.resize(12 * MIB)

        self.follow("vol", [
            lambda: self.fill(12),
            self.edit("vol", lambda i: i.resize(5 * MIB + 512)),
            self.edit("vol", lambda i: i.resize(21 * MIB)),
            self.edit("vol", lambda i: i.write(b"end" * 1000, 21 * MIB - 3000)),
            self.edit("vol", lambda i: (i.resize(6 * MIB), i.resize(12 * MIB))),
            lambda: self.fill(12),
            # Where Ceph 16's fast-diff returns nothing at all.
            self.edit("vol", shrink_snapshot_grow),
            self.edit("vol", lambda i: i.resize(0)),
            self.edit("vol", lambda i: i.resize(4 * MIB)),
        ])

    def test_a_rollback_of_the_source_is_seen(self):
        self.create(mib=12)

        def rollback(image):
            image.rollback_to_snap("before")

        self.follow("vol", [
            lambda: self.fill(8),
            self.edit("vol", lambda i: i.create_snap("before")),
            lambda: self.fill(4, start=6),
            self.edit("vol", rollback),
        ])

    def test_an_empty_image(self):
        self.create(mib=0)
        self.follow("vol", [lambda: None, lambda: None,
                            self.edit("vol", lambda i: (i.resize(MIB), i.write(b"x", MIB - 1)))])

    def test_layouts_and_features(self):
        self.create("small", mib=3, order=16)
        self.create("large", mib=40, order=24)
        self.create("striped", mib=16, order=20, stripe_unit=65536, stripe_count=5)
        self.create("plain", mib=12, features=1)
        self.create("unlocked", mib=12, features=1 | 0)
        self.create("data", mib=12, data_pool="data-of-e2e")
        for name in ("small", "large", "striped", "plain", "unlocked", "data"):
            def write(image, name=name):
                for _ in range(12):
                    image.write(self.random.randbytes(self.random.randrange(1, 100000)),
                                self.random.randrange(image.size() - 100000))
            self.follow(name, [self.edit(name, write), self.edit(name, write),
                               self.edit(name, lambda i: i.discard(MIB, MIB))])

    def test_an_image_comes_back_with_its_layout_and_metadata(self):
        self.create("striped", mib=16, order=20, stripe_unit=65536, stripe_count=5)
        with rbd.Image(self.io["a"], "striped") as image:
            image.metadata_set("owner", "the accounting department")
            image.write(b"data" * 1000, MIB)
        self.backup(asset="rbd/rbd/striped")
        self.pair.osaka.json("restore", "tokyo:rbd/rbd/striped", "--to", "rbd/back")
        with rbd.Image(self.io["b"], "back", read_only=True) as image:
            self.assertEqual((image.stat()["order"], image.stripe_unit(), image.stripe_count()),
                             (20, 65536, 5))
            self.assertEqual(dict(image.metadata_list()).get("owner"), "the accounting department")

    def test_namespaces(self):
        io = self.io["a"]
        rbd.RBD().namespace_create(io, "tenant") if not rbd.RBD().namespace_exists(
            io, "tenant") else None
        io.set_namespace("tenant")
        self.create(mib=12)
        self.follow("vol", [self.edit("vol", lambda i: i.write(b"one" * 5000, 5 * MIB)),
                            self.edit("vol", lambda i: i.write(b"two" * 5000, 9 * MIB))],
                    asset="rbd/rbd/tenant/vol")
        self.remove_image(io, "vol")
        self.pair.tokyo.run("restore", "rbd/rbd/tenant/vol", "--to", "rbd/tenant/back")
        self.assertIn("back", rbd.RBD().list(io))

    def test_clones_hold_their_parents_data(self):
        io = self.io["a"]
        self.create("parent", mib=16)
        self.fill(10, "parent")
        with rbd.Image(io, "parent") as image:
            image.create_snap("golden")
            image.protect_snap("golden")
        rbd.RBD().clone(io, "parent", "golden", io, "child", features=ALL_FEATURES)
        self.follow("child", [
            lambda: None,
            self.edit("child", lambda i: i.write(b"own" * 3000, 3 * MIB)),
            self.edit("child", lambda i: i.discard(4 * MIB, 4 * MIB)),
            # The overlap shrinks: what the parent showed there is zeros from now on.
            self.edit("child", lambda i: (i.resize(5 * MIB), i.resize(16 * MIB))),
            self.edit("child", lambda i: i.flatten()),
        ])

    def test_an_image_made_anew_under_its_name_starts_a_new_line(self):
        self.create()
        self.fill(8)
        old_state, old = self.content(), self.backup()
        self.remove_image(self.io["a"], "vol")
        self.create()
        self.fill(6, start=3)
        state, point = self.content(), self.backup()
        self.assertEqual((point["mode"], point["parent"]), ("first", None))
        self.assert_same(self.restored(point["id"]), state, "new")
        self.assert_same(self.restored(old["id"]), old_state, "old")

    def test_a_base_snapshot_that_somebody_removed(self):
        self.create()
        self.fill(8)
        first = self.backup()
        for name in self.snapshots():
            self.a.rbd("snap", "rm", "--no-progress", f"rbd/vol@{name}")
        self.write(MIB, b"new")
        state, point = self.content(), self.backup()
        self.assertEqual((point["mode"], point["parent"]), ("full", first["id"]))
        self.assertLess(point["shipped_bytes"], 6 * MIB)  # one region
        self.assert_same(self.restored(point["id"]), state, "full")

    def test_one_base_snapshot_is_kept_and_others_are_not_touched(self):
        self.create()
        with rbd.Image(self.io["a"], "vol") as image:
            image.create_snap("tidemark.of-mine")
            image.create_snap("daily")
        for _ in range(3):
            self.backup()
        names = self.snapshots()
        self.assertEqual(len(names), 3)
        self.assertIn("daily", names)
        self.assertIn("tidemark.of-mine", names)

    def test_a_client_goes_on_writing_meanwhile(self):
        self.create(mib=64)
        self.fill(48)
        import subprocess
        bench = subprocess.Popen(self.a.cmd("rbd", "bench", "--io-type", "write", "--io-pattern", "rand",
                                            "--io-size", "8K", "--io-total", "2G", "rbd/vol"),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env=self.a.env())
        try:
            for _ in range(4):
                point = self.backup()
                base = [s for s in self.snapshots() if s.startswith("tidemark.")]
                self.assertEqual(len(base), 1)
                self.assert_same(self.restored(point["id"]), self.content(snapshot=base[0]),
                                 "under writes")
                self.assertIsNone(bench.poll(), "the writer must still be at it")
        finally:
            bench.kill()
            bench.wait()

    def setUp(self):
        super().setUp()
        if "data-of-e2e" not in self.a.ceph("osd", "pool", "ls"):
            self.a.create_pool("data-of-e2e")


if __name__ == "__main__":
    main()
