"""Random histories of images, every point of them restored and compared (figure 7), and lists of changes
that lie (figure 8).

What a point must hold is read by python-rbd, from the base snapshot that the backup left on the image."""

import json
import os
import sys

import rbd
from support import BUILD, MIB, Case, main, rounds, sha

SHIM = os.environ.get("TM_DIFF_SHIM_LIBRARY",
                      os.path.join(BUILD, "tests/e2e/libtidemark_diff_shim.so"))


class Histories(Case):
    """TM_ROUNDS is the number of points."""

    mib = 20  # the largest size

    def some_layout(self):
        r, options = self.random, {}
        options["order"] = r.randrange(16, 23)
        options["features"] = 1 | r.choice([0, 4, 4 | 8, 4 | 8 | 16, 4 | 8 | 16])
        if r.random() < 0.35:
            options["stripe_unit"] = (1 << options["order"]) >> r.randrange(0, 4)
            options["stripe_count"] = r.randrange(2, 6)
            options["features"] |= 2
        return options

    def new_image(self, name):
        options = self.some_layout()
        size = self.random.randrange(0, self.mib * MIB)
        if self.random.random() < 0.7:
            size = size // 512 * 512
        rbd.RBD().create(self.io["a"], name, size, old_format=False, **options)
        return f"{options}, {size} bytes"

    def new_clone(self, name, parent):
        """Of a snapshot of an image that exists, in a layout of its own."""
        options = self.some_layout()
        snapshot = f"golden-{name}"
        with rbd.Image(self.io["a"], parent) as image:
            image.create_snap(snapshot)
            image.protect_snap(snapshot)
            # A clone takes over its parent's stripes, and librbd refuses those that are larger than its objects.
            if image.stripe_unit() > 1 << options["order"]:
                options.setdefault("stripe_unit", 1 << options["order"])
                options.setdefault("stripe_count", 1)
        rbd.RBD().clone(self.io["a"], parent, snapshot, self.io["a"], name, **options)
        return f"clone of {parent}, {options}"

    def possible_parents(self):
        """librbd refuses to clone an image of no bytes."""
        names = [i for i in rbd.RBD().list(self.io["a"]) if i.startswith("image-")]
        return [n for n in names if self.size_of(n) > 0]

    def size_of(self, name):
        with rbd.Image(self.io["a"], name, read_only=True) as image:
            return image.size()

    def extent(self, image, most=2 * MIB):
        size = image.size()
        start = self.random.randrange(size)
        length = min(self.random.choice([1, 512, 4096, 65536, MIB, most]), size - start)
        if self.random.random() < 0.5:
            start -= start % 4096
        return start, max(1, min(self.random.randrange(1, length + 1), size - start))

    def step(self, image):
        """One random change; returns its description for the failure message."""
        r = self.random
        kind = r.choices(["write", "fill", "discard", "zeroes", "resize", "snap", "unsnap", "rollback", "flatten"],
                         [30, 8, 12, 8, 8, 8, 4, 4, 2])[0]
        snaps = [s["name"] for s in image.list_snaps() if s["name"].startswith("mine-")]
        if kind in ("write", "fill", "discard", "zeroes"):
            if image.size() == 0:
                return "empty"
            start, length = self.extent(image)
            if kind == "write":
                image.write(r.randbytes(length), start)
            elif kind == "fill":
                image.write(bytes([r.choice([0, 0, 255])]) * length, start)
            elif kind == "discard" or not hasattr(image, "write_zeroes"):
                image.discard(start, length)
            else:
                image.write_zeroes(start, length)
            return f"{kind} {start}+{length}"
        if kind == "resize":
            size = r.choice([0, r.randrange(self.mib * MIB), image.size() // 2, self.mib * MIB])
            image.resize(size)
            return f"resize {size}"
        if kind == "snap":
            name = f"mine-{r.randrange(1 << 30)}"
            image.create_snap(name)
            return f"snap {name}"
        if kind == "unsnap" and snaps:
            name = r.choice(snaps)
            image.remove_snap(name)
            return f"unsnap {name}"
        if kind == "rollback" and snaps:
            name = r.choice(snaps)
            image.rollback_to_snap(name)
            return f"rollback {name}"
        if kind == "flatten":
            try:
                image.parent_info()
            except rbd.ImageNotFound:
                return "no parent"
            image.flatten()
            return "flatten"
        return "nothing"

    def take_point(self, name, history):
        point = self.backup(asset=f"rbd/rbd/{name}")
        bases = [s for s in self.snapshots(name) if s.startswith("tidemark.")]
        self.assertEqual(len(bases), 1, history)
        want = self.content(name, snapshot=bases[0])
        got = self.restored(point["id"], asset=f"tokyo:rbd/rbd/{name}")
        self.assert_same(got, want, "; ".join(history))
        return point["id"], sha(want), point["mode"]

    def test_every_point_of_random_histories_restores(self):
        total, points, number, modes = rounds(25), [], 0, {}
        while len(points) < total:
            number += 1
            name = f"image-{number}"
            others = self.possible_parents()
            if others and self.random.random() < 0.4:
                history = [self.new_clone(name, self.random.choice(others))]
            else:
                history = [self.new_image(name)]
            for _ in range(min(self.random.randrange(4, 10), total - len(points))):
                with rbd.Image(self.io["a"], name) as image:
                    for _ in range(self.random.randrange(0, 7)):
                        history.append(self.step(image))
                id, digest, mode = self.take_point(name, history)
                history.append("POINT")
                modes[mode] = modes.get(mode, 0) + 1
                points.append((id, digest, name, "; ".join(history)))
            if number % 4 == 0:  # keeps long runs small
                self.remove_images(self.io["a"])
        for id, digest, name, history in points:
            got = self.restored(id, asset=f"tokyo:rbd/rbd/{name}")
            self.assertEqual(sha(got), digest, f"at the end: {history}")
        self.assertEqual(self.assert_good_store()["points_checked"], len(points))
        print(f"{len(points)} points of {number} images restored twice, none wrong; {modes}", file=sys.stderr)


class Liars(Case):
    """With every unchanged region compared, a wrong list of changes must not become a wrong point."""

    pair_options = {"policy_extra": "    check_unchanged: 100%\n"}

    def run_with(self, lie, changes, rounds_of):
        self.assertTrue(os.path.exists(SHIM), f"{SHIM} is not built")
        self.remove_images(self.io["a"])
        self.create(mib=48, order=self.random.randrange(18, 23))
        self.fill(24)
        self.backup()
        refused = healed = lies = 0
        for number in range(rounds_of):
            changes()
            log = os.path.join(self.dir, f"lies-{number}")
            done = self.pair.tokyo.run("--json", "--quiet", "backup", "rbd/rbd/vol", code=None,
                                       env={"LD_PRELOAD": SHIM, "TM_DIFF_SHIM": lie, "TM_DIFF_SHIM_LOG": log})
            count = os.path.getsize(log) if os.path.exists(log) else 0
            lies += count
            if done.returncode != 0:
                refused += 1
                self.assertGreater(count, 0, done.errors)
                continue
            point = json.loads(done.text)["points"][0]
            base = [s for s in self.snapshots() if s.startswith("tidemark.")][0]
            what = f"{lie}: {count} lies, mode {point['mode']}, round {number}"
            self.assert_same(self.restored(point["id"]), self.content(snapshot=base), what)
            if point["mode"] == "full":
                healed += 1
                self.assertIn("list of changes", done.errors, "the log must say what was found")
        self.assertGreater(lies, 0, "the shim was not asked: nothing was tested")
        print(f"{lie}: {lies} lies in {rounds_of} backups: {refused} refused, {healed} healed, 0 wrong points",
              file=sys.stderr)
        self.assert_good_store()
        return refused + healed

    def overwrite(self, count=6):
        for _ in range(count):
            self.write(self.random.randrange(20 * MIB), self.random.randbytes(self.random.randrange(1, 200000)))

    def overwrite_and_grow_into_holes(self):
        self.overwrite(2)
        self.write(self.random.randrange(24, 47) * MIB, self.random.randbytes(100000))

    def test_nothing_is_reported(self):
        n = rounds(4)
        self.assertEqual(self.run_with("nothing", self.overwrite, n), n)

    def test_what_came_into_holes_is_not_reported(self):
        n = rounds(4)
        self.assertEqual(self.run_with("nothing", self.overwrite_and_grow_into_holes, n), n)

    def test_extents_are_left_out(self):
        self.run_with("drop:2", self.overwrite, rounds(4))

    def test_extents_are_elsewhere(self):
        n = rounds(3)
        self.assertEqual(self.run_with(f"shift:{5 * MIB}", self.overwrite, n), n)

    def test_extents_are_a_little_elsewhere(self):
        self.run_with("shift:4096", self.overwrite, rounds(3))

    def test_extents_are_too_short(self):
        self.run_with("short:512", self.overwrite, rounds(3))

    def test_the_truth_raises_no_alarm(self):
        self.create(mib=48)
        self.fill(24)
        self.backup()
        for _ in range(rounds(4)):
            self.overwrite_and_grow_into_holes()
            point = self.pair.tokyo.json("backup", "rbd/rbd/vol", env={"LD_PRELOAD": SHIM})["points"][0]
            self.assertEqual(point["mode"], "incremental")


if __name__ == "__main__":
    main()
