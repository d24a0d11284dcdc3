"""Damaged bytes at rest (figure 13, small): none is restored from, all are found, a sound store raises no
alarm, a damaged catalog is made anew, a damaged pack is mended by the next full backup."""

import json
import os
import shutil
import subprocess
import sys

import rbd
from support import BINARY, MIB, Case, main, rounds


class Damage(Case):
    def two_points(self):
        self.create(mib=16)
        self.fill(6)
        states, points = [self.content()], [self.backup()]
        self.fill(2, start=9)
        states.append(self.content())
        points.append(self.backup())
        return states, points

    def files(self, *parts):
        top = os.path.join(self.pair.store_dir, *parts)
        if os.path.isfile(top):
            return [top]
        return sorted(os.path.join(at, name) for at, _, names in os.walk(top) for name in names)

    def harm(self, path, kind):
        """Damages a file; returns what was done, or None where that left the bytes as they were."""
        with open(path, "rb") as f:
            good = f.read()
        bad, at = bytearray(good), self.random.randrange(len(good)) if good else 0
        if not good:
            return None
        if kind == "bit flip":
            bad[at] ^= 1 << self.random.randrange(8)
        elif kind == "overwrite":
            bad[at:at + 2] = self.random.randbytes(len(bad[at:at + 2]))
        elif kind == "truncation":
            del bad[at:]
        elif kind == "zero page":
            at -= at % 4096
            bad[at:at + 4096] = bytes(len(bad[at:at + 4096]))
        elif kind == "tail zeroed":
            bad[at:] = bytes(len(bad) - at)
        if bad == good:
            return None
        self.put(path, bad)
        return f"{kind} at {at} of {len(good)} in {os.path.relpath(path, self.pair.dir)}"

    @staticmethod
    def put(path, data):
        """Blobs are immutable and may be read-only."""
        mode = os.stat(path).st_mode
        os.chmod(path, 0o600)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)

    def bare(self, *args):
        return subprocess.run([BINARY, "--store", self.pair.store_url, "--key-file", self.pair.key_file, "--json",
                               "--quiet", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)

    KINDS = ("bit flip", "overwrite", "truncation", "zero page", "tail zeroed")

    def assert_harmless(self, what, states, points):
        """Nothing was found: then every point must be there and right all the same."""
        listed = json.loads(self.bare("points").stdout)["points"]
        self.assertEqual({p["id"] for p in listed}, {p["id"] for p in points}, f"{what}: a point was lost unseen")
        for state, point in zip(states, points):
            path = os.path.join(self.dir, "harmless.img")
            done = self.bare("restore", "rbd/rbd/vol", "--point", point["id"], "--to-file", path)
            self.assertEqual(done.returncode, 0, f"{what}: verified, but not restored: {done.stderr}")
            with open(path, "rb") as f:
                self.assert_same(f.read(), state, f"{what}: SILENT DAMAGE")
            os.unlink(path)

    def assert_clean(self):
        done = self.bare("verify", "--read-data")
        self.assertEqual((done.returncode, json.loads(done.stdout)["damaged"]), (0, []), "a false alarm")

    def test_damage_of_every_kind_of_file_is_found(self):
        states, points = self.two_points()
        self.pair.stop()
        self.assert_clean()
        found = harmless = 0
        for number in range(rounds(3)):
            for part in ("packs", "points", "store"):
                for kind in self.KINDS:
                    path = self.random.choice(self.files(part))
                    with open(path, "rb") as f:
                        good = f.read()
                    what = self.harm(path, kind)
                    if what is None:
                        continue
                    done = self.bare("verify", "--read-data")
                    self.assertGreaterEqual(done.returncode, 0, f"{what}: crashed: {done.stderr[-2000:]}")
                    self.assertLess(done.returncode, 128, f"{what}: crashed: {done.stderr[-2000:]}")
                    if done.returncode == 0:
                        harmless += 1
                        with self.subTest(what):
                            self.assert_harmless(what, states, points)
                    else:
                        found += 1
                        if part == "packs":
                            self.assertEqual(done.returncode, 6, f"{what}: {done.stderr}")
                    self.put(path, good)
            self.assert_clean()
        self.assert_harmless("mended", states, points)
        print(f"{found + harmless} damages: {found} found, {harmless} not; 0 false alarms",
              file=sys.stderr)
        self.assertGreater(found, 0)

    def test_the_source_cannot_be_given_damaged_bytes(self):
        """Through the running agent: a restore of damaged data fails, and leaves nothing that looks whole."""
        states, points = self.two_points()
        pack = max(self.files("packs"), key=os.path.getsize)
        with open(pack, "rb") as f:
            good = f.read()
        for _ in range(rounds(3)):
            bad = bytearray(good)
            at = self.random.randrange(64, 4 * MIB)
            bad[at] ^= 0x40
            self.put(pack, bad)
            path = os.path.join(self.dir, "damaged.img")
            done = self.pair.tokyo.run("--json", "restore", "rbd/rbd/vol", "--to-file", path, code=None)
            self.assertEqual(done.returncode, 6, done.errors)
            self.assertEqual(json.loads(done.errors.strip().splitlines()[-1])["error"]["code"], "corruption")
            done = self.pair.tokyo.run("restore", "rbd/rbd/vol", "--to", "rbd/back", code=None)
            self.assertEqual(done.returncode, 6, done.errors)
            self.assertNotIn("back", self.images())
            if os.path.exists(path):
                os.unlink(path)
            self.put(pack, good)
            self.remove_leftovers()
        self.assert_same(self.restored(points[1]["id"]), states[1], "mended by hand")

    def images(self):
        return rbd.RBD().list(self.io["a"])

    def remove_leftovers(self):
        for name in self.images():
            if name.endswith(".tidemark-restoring"):
                self.remove_image(self.io["a"], name)

    def test_a_damaged_catalog_is_made_anew(self):
        states, points = self.two_points()
        before = self.pair.osaka.json("points")
        catalog, good = os.path.join(self.pair.osaka.dir, "state", "catalog"), os.path.join(self.dir, "catalog")
        self.pair.osaka.stop_agent()
        shutil.copytree(catalog, good)
        names = sorted(os.path.relpath(os.path.join(at, n), good) for at, _, names in os.walk(good) for n in names
                       if os.path.getsize(os.path.join(at, n)) and not n.startswith("LO"))  # LOCK, LOG
        tried = [self.random.choice(names) for _ in range(max(0, rounds(6) - len(names)))] + names
        self.random.shuffle(tried)
        for name in tried[:rounds(6)]:
            shutil.rmtree(catalog)
            shutil.copytree(good, catalog)
            what = self.harm(os.path.join(catalog, name), self.random.choice(self.KINDS))
            if what is None:
                continue
            self.pair.osaka.start_agent()
            self.assertEqual(self.pair.osaka.json("points")["points"], before["points"], what)
            report = self.pair.osaka.json("verify", "--read-data")
            self.assertEqual((report["points_checked"], report["damaged"]), (2, []), what)
            self.pair.osaka.stop_agent()
        self.pair.osaka.start_agent()
        self.write(12 * MIB, b"after all that")
        state, point = self.content(), self.backup()
        self.assertEqual((point["mode"], point["parent"]), ("incremental", points[1]["id"]))
        self.assert_same(self.restored(point["id"]), state, "after damaged catalogs")
        print(f"{len(tried[:rounds(6)])} damaged catalogs", file=sys.stderr)

    def test_a_damaged_pack_is_mended_by_a_full_backup(self):
        states, points = self.two_points()
        points.append(self.backup())  # the same content as the second
        osaka = self.pair.osaka
        for path in self.files("packs"):
            with open(path, "rb") as f:
                bad = bytearray(f.read())
            bad[self.random.randrange(64, len(bad) - 64)] ^= 1
            self.put(path, bad)
        done = osaka.run("--json", "--quiet", "verify", "--read-data", "--repair", code=5)
        self.assertIn("agent", done.errors)  # must be stopped
        osaka.stop_agent()
        done = osaka.run("--json", "--quiet", "verify", "--read-data", code=6)
        self.assertEqual(json.loads(done.text)["packs_set_aside"], 0)
        # Below a damaged node nothing is found before the node is mended, so this is done level by level.
        for attempt in range(4):
            done = osaka.run("--json", "--quiet", "verify", "--read-data", "--repair", code=6)
            aside = json.loads(done.text)["packs_set_aside"]
            osaka.start_agent()
            if aside == 0:
                break
            state = self.content()
            points.append(self.backup("--full"))
            osaka.stop_agent()
        self.assertGreater(attempt, 0, "nothing was set aside")
        # What was set aside stays so after a rebuild, and without a catalog.
        osaka.stop_agent()
        osaka.run("catalog", "rebuild", code=None)
        osaka.start_agent()
        for want, point in ((states[1], points[1]), (state, points[-1])):
            self.assert_same(self.restored(point["id"]), want, "rebuilt")
            path = os.path.join(self.dir, "bare.img")
            done = self.bare("restore", "rbd/rbd/vol", "--point", point["id"], "--to-file", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, "rb") as f:
                self.assert_same(f.read(), want, "without a catalog")
            os.unlink(path)
        # What points have in common with a new one is mended, what only older ones had is not.
        done = osaka.run("--json", "--quiet", "verify", "--read-data", code=None)
        self.assertLessEqual({d["point"] for d in json.loads(done.text)["damaged"]}, {points[0]["id"]}, done.text)
        for want, point in ((states[1], points[1]), (states[1], points[2]), (state, points[-1])):
            self.assert_same(self.restored(point["id"]), want, "mended")
        done = osaka.run("restore", "tokyo:rbd/rbd/vol", "--point", points[0]["id"], "--to-file",
                         os.path.join(self.dir, "first.img"), code=None)
        self.assertIn(done.returncode, (0, 6))


    def test_a_damaged_record_is_found_and_mended_from_the_catalog(self):
        states, points = self.two_points()
        osaka = self.pair.osaka
        osaka.stop_agent()
        record = os.path.join(self.pair.store_dir, "points", points[0]["id"])
        self.assertIsNotNone(self.harm(record, "zero page"))
        damaged = json.loads(osaka.run("--json", "--quiet", "verify", code=6).text)["damaged"]
        self.assertEqual([(d["kind"], d["id"]) for d in damaged], [("record", points[0]["id"])])
        osaka.run("--quiet", "verify", points[1]["id"])  # only what was asked for is judged
        self.assertEqual(self.bare("points").returncode, 6)
        osaka.run("--quiet", "verify", "--repair", points[1]["id"])
        self.assertEqual(self.bare("points").returncode, 6, "only what was asked for is mended")
        osaka.run("--quiet", "verify", "--repair", code=6)
        osaka.run("--quiet", "verify")
        self.assert_harmless("mended", states, points)

    def test_an_old_copy_of_the_catalog_is_noticed(self):
        states, points = self.two_points()
        osaka = self.pair.osaka
        catalog, old = os.path.join(osaka.dir, "state", "catalog"), os.path.join(self.dir, "old")
        osaka.stop_agent()
        shutil.copytree(catalog, old)
        osaka.start_agent()
        self.write(12 * MIB, b"later")
        states.append(self.content())
        points.append(self.backup())
        osaka.stop_agent()
        shutil.rmtree(catalog)
        shutil.move(old, catalog)
        osaka.start_agent()
        self.assertEqual({p["id"] for p in osaka.json("points")["points"]}, {p["id"] for p in points})
        self.assertEqual(self.backup()["parent"], points[-1]["id"])
        self.assert_same(self.restored(points[-1]["id"]), states[-1], "with an old catalog")

    def test_what_is_whole_in_a_damaged_pack_is_saved(self):
        """The volume has moved on, so that no backup could send it again."""
        states, points = self.two_points()
        self.write(0, bytes(16 * MIB))
        osaka = self.pair.osaka
        osaka.stop_agent()
        pack = max(self.files("packs"), key=os.path.getsize)  # chunks of the first point
        with open(pack, "rb") as f:
            bad = bytearray(f.read())
        bad[100] ^= 1  # within its first blob
        self.put(pack, bad)
        done = json.loads(osaka.run("--json", "--quiet", "verify", "--read-data", "--repair", code=6).text)
        self.assertEqual((done["packs_set_aside"], {d["kind"] for d in done["damaged"]}), (1, {"chunk"}), done)
        self.assertGreater(done["blobs_saved"], 0)
        for _ in range(2):
            again = json.loads(osaka.run("--json", "--quiet", "verify", "--read-data", "--repair", code=6).text)
            self.assertEqual({d["id"] for d in again["damaged"]}, {d["id"] for d in done["damaged"]})
            self.assertEqual((again["packs_set_aside"], again["blobs_saved"]), (0, 0))
            osaka.run("catalog", "rebuild", code=None)
        osaka.start_agent()
        after = self.backup()
        self.assert_same(self.restored(after["id"]), bytes(16 * MIB), "after it")

    def test_a_copy_of_the_store_heals_it(self):
        """What neither the pack nor a volume holds any more."""
        states, points = self.two_points()
        self.write(0, bytes(16 * MIB))
        osaka = self.pair.osaka
        osaka.stop_agent()
        copy = os.path.join(self.pair.dir, "copy")
        shutil.copytree(self.pair.store_dir, copy)
        packs = sorted(self.files("packs"), key=os.path.getsize)
        with open(packs[-1], "rb") as f:
            good = f.read()
        bad = bytearray(good)
        bad[100] ^= 1
        self.put(packs[-1], bad)
        os.remove(packs[0])
        repair = ["--json", "--quiet", "verify", "--read-data", "--repair", "--from", f"file:{copy}"]
        # A copy that is as bad is passed over.
        in_copy = os.path.join(copy, os.path.relpath(packs[-1], self.pair.store_dir))
        self.put(in_copy, bad)
        done = json.loads(osaka.run(*repair, code=6).text)
        self.assertEqual((done["packs_set_aside"], done["packs_healed"]), (2, 1), done)
        self.put(in_copy, good)
        done = json.loads(osaka.run(*repair, code=6).text)
        self.assertEqual((done["packs_set_aside"], done["packs_healed"]), (0, 1), done)
        for _ in range(2):
            osaka.run("--quiet", "verify", "--read-data")
            osaka.run("catalog", "rebuild")
        osaka.start_agent()
        for point, state in zip(points, states):
            self.assert_same(self.restored(point["id"]), state, point["id"])


if __name__ == "__main__":
    main()
