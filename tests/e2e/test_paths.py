"""The whole path with one image: capture, send, commit, every way of restoring, every command."""

import json
import os
import subprocess

import rbd
from support import MIB, Case, main


class Paths(Case):
    def three_points(self):
        self.create(mib=32)
        self.fill(9)
        states, points = [], []
        for change in (None, (5 * MIB + 123, b"second" * 1000), (20 * MIB, b"third" * 3000)):
            if change:
                self.write(*change)
            states.append(self.content())
            points.append(self.backup())
        return states, points

    def test_every_point_restores_to_file_image_stdout_and_stream(self):
        states, points = self.three_points()
        self.assertEqual([p["mode"] for p in points], ["first", "incremental", "incremental"])
        self.assertLess(points[1]["shipped_bytes"], 64 * 1024)
        for state, point in zip(states, points):
            self.assert_same(self.restored(point["id"]), state, "file")
        self.pair.tokyo.json("restore", "rbd/rbd/vol", "--point", points[1]["id"], "--to", "rbd/back")
        self.assert_same(self.content("back"), states[1], "new image at the source")
        self.pair.osaka.json("restore", "tokyo:rbd/rbd/vol", "--to", "rbd/vol")
        self.assert_same(self.content("vol", io=self.io["b"]), states[2], "new image at the store")
        out = subprocess.run(self.pair.osaka.command("restore", "tokyo:rbd/rbd/vol", "--point",
                                                     points[0]["id"], "--to-file", "-"),
                             stdout=subprocess.PIPE, check=True).stdout
        self.assert_same(out, states[0], "stdout")

    def test_stock_import_diff_accepts_our_stream(self):
        states, points = self.three_points()
        self.create("copy", mib=32, io=self.io["b"])
        for index, point in enumerate(points):
            since = ["--from-point", points[index - 1]["id"]] if index else []
            stream = subprocess.run(
                self.pair.osaka.command("restore", "tokyo:rbd/rbd/vol", "--point", point["id"],
                                        "--to-file", "-", "--format", "rbd-diff", *since),
                stdout=subprocess.PIPE, check=True).stdout
            self.b.rbd("import-diff", "--no-progress", "-", "rbd/copy", input=stream, text=False)
            self.assert_same(self.content("copy", io=self.io["b"]), states[index], f"stream {index}")

    def test_in_place_writes_only_the_difference(self):
        states, points = self.three_points()
        self.write(12 * MIB, b"after the last point" * 100)
        report = self.pair.tokyo.json("restore", "rbd/rbd/vol", "--point", points[0]["id"],
                                      "--to", "rbd/vol", "--in-place")
        self.assert_same(self.content(), states[0], "rolled back")
        self.assertLess(report["written_bytes"], 128 * 1024)
        # With the base snapshot gone everything is compared, and still only the difference is written.
        for name in self.snapshots():
            self.a.rbd("snap", "rm", "--no-progress", f"rbd/vol@{name}")
        report = self.pair.tokyo.json("restore", "rbd/rbd/vol", "--point", points[2]["id"],
                                      "--to", "rbd/vol", "--in-place")
        self.assert_same(self.content(), states[2], "rolled forward")
        self.assertLess(report["written_bytes"], 128 * 1024)
        self.assertEqual(self.snapshots(), [])
        # The next point is a full reading on the same line, and right.
        point = self.backup()
        self.assertEqual((point["mode"], point["parent"]), ("full", points[2]["id"]))
        self.assert_same(self.restored(point["id"]), states[2], "after the rollback")

    def test_in_place_follows_a_changed_size_both_ways(self):
        self.create(mib=16)
        self.fill(13)
        small, first = self.content(), self.backup()
        with rbd.Image(self.io["a"], "vol") as image:
            image.resize(27 * MIB)
        self.write(25 * MIB, b"grown")
        large, second = self.content(), self.backup()
        for point, state in ((first, small), (second, large)):
            self.pair.tokyo.json("restore", "rbd/rbd/vol", "--point", point["id"], "--to", "rbd/vol",
                                 "--in-place")
            self.assert_same(self.content(), state, "resized in place")

    def test_restore_refuses_what_exists_and_replaces_it_only_when_forced(self):
        states, points = self.three_points()
        done = self.pair.tokyo.run("--json", "restore", "rbd/rbd/vol", "--to", "rbd/vol", code=5)
        self.assertEqual(json.loads(done.errors)["error"]["code"], "refused")
        self.assert_same(self.content(), states[2], "untouched")
        path = os.path.join(self.dir, "there")
        open(path, "w").close()
        self.pair.osaka.run("restore", "tokyo:rbd/rbd/vol", "--to-file", path, code=5)
        self.pair.osaka.run("restore", "tokyo:rbd/rbd/vol", "--to-file", path, "--force")
        with rbd.Image(self.io["a"], "vol") as image:
            for name in self.snapshots():
                image.remove_snap(name)
        self.pair.tokyo.run("restore", "rbd/rbd/vol", "--point", points[0]["id"], "--to", "rbd/vol",
                            "--force")
        self.assert_same(self.content(), states[0], "replaced")

    def test_plan_does_nothing(self):
        states, points = self.three_points()
        plan = self.pair.tokyo.json("restore", "rbd/rbd/vol", "--point", points[0]["id"], "--to",
                                    "rbd/vol", "--in-place", "--plan")
        self.assertGreater(plan["write_bytes"] + plan["zero_bytes"], 0)
        self.assert_same(self.content(), states[2], "after a plan")
        self.pair.tokyo.run("restore", "rbd/rbd/vol", "--to", "rbd/new", "--plan")
        self.assertNotIn("new", rbd.RBD().list(self.io["a"]))

    def test_as_of_finds_the_newest_point_before(self):
        _, points = self.three_points()
        plan = self.pair.osaka.json("restore", "tokyo:rbd/rbd/vol", "--as-of", points[1]["time"],
                                    "--to-file", "/nowhere", "--plan")
        self.assertEqual(plan["point"]["id"], points[1]["id"])
        self.pair.osaka.run("restore", "tokyo:rbd/rbd/vol", "--as-of", "2001-01-01", "--to-file",
                            "/nowhere", code=4)

    def test_points_can_be_listed_shown_pinned_and_deleted(self):
        _, points = self.three_points()
        listed = self.pair.tokyo.json("points", "rbd/rbd/vol")["points"]
        self.assertEqual([p["id"] for p in listed], [p["id"] for p in points])
        for key in ("id", "asset", "site", "time", "parent", "set", "size_bytes", "changed_bytes",
                    "shipped_bytes", "stored_bytes", "duration_ms", "pinned", "verified_at", "root",
                    "labels"):
            self.assertIn(key, listed[0])
        shown = self.pair.osaka.json("points", "show", points[0]["id"][:10])
        self.assertEqual(shown["image"]["order"], 22)
        # The source has no verb that deletes.
        self.pair.tokyo.run("points", "delete", points[0]["id"], code=5)
        self.pair.osaka.run("points", "pin", points[0]["id"])
        self.pair.osaka.run("points", "delete", points[0]["id"], code=5)
        self.pair.osaka.run("points", "unpin", points[0]["id"])
        self.pair.osaka.run("points", "delete", points[0]["id"])
        self.assertEqual(len(self.pair.osaka.json("points")["points"]), 2)
        self.pair.osaka.run("points", "rbd/rbd/nothing", code=4)
        self.pair.osaka.run("points", "show", "ffffffff", code=4)

    def test_diff_says_which_ranges_differ(self):
        _, points = self.three_points()
        diff = self.pair.osaka.json("diff", points[1]["id"], points[2]["id"])
        covered = [(r["offset"], r["offset"] + r["bytes"]) for r in diff["ranges"]]
        self.assertTrue(all(20 * MIB <= a and b <= 20 * MIB + 64 * 1024 for a, b in covered))
        self.assertEqual(self.pair.osaka.json("diff", points[1]["id"], points[1]["id"])["ranges"], [])

    def test_nothing_changed_reads_nothing_and_ships_nothing(self):
        self.pair.policy_extra = "    check_unchanged: 0%\n"
        self.pair.write_config(self.pair.tokyo)
        self.create()
        self.fill(8)
        self.backup()
        point = self.backup()
        self.assertEqual((point["read_bytes"], point["changed_bytes"]), (0, 0))
        self.assertEqual(point["shipped_bytes"], 0)

    def test_recovery_needs_the_binary_the_key_and_the_backend_alone(self):
        states, points = self.three_points()
        self.pair.stop()
        path = os.path.join(self.dir, "bare.img")
        bare = [self.pair.tokyo.binary, "--store", self.pair.store_url, "--key-file",
                self.pair.key_file, "--ceph-conf", self.b.conf, "--json", "--quiet"]
        subprocess.run([*bare, "restore", "rbd/rbd/vol", "--point", points[1]["id"], "--to-file",
                        path], check=True, stdout=subprocess.DEVNULL)
        with open(path, "rb") as f:
            self.assert_same(f.read(), states[1], "without agent and catalog")
        listed = json.loads(subprocess.run([*bare, "points"], check=True,
                                           stdout=subprocess.PIPE).stdout)["points"]
        self.assertEqual([p["id"] for p in listed], [p["id"] for p in points])
        # And without the key nothing.
        bare[bare.index("--key-file"):bare.index("--key-file") + 2] = []
        done = subprocess.run([*bare, "restore", "rbd/rbd/vol", "--to-file", path + "2"],
                              stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 5)

    def test_a_lost_catalog_is_rebuilt(self):
        states, points = self.three_points()
        self.pair.osaka.run("points", "pin", points[0]["id"])
        self.pair.osaka.run("catalog", "rebuild", code=5)  # its agent is running
        before = self.pair.osaka.json("points")
        self.pair.stop()
        self.pair.osaka.run("catalog", "rebuild")
        self.pair.osaka.run("catalog", "check")
        import shutil
        shutil.rmtree(os.path.join(self.pair.osaka.dir, "state", "catalog"))
        self.pair.osaka.start_agent()
        self.assertEqual(self.pair.osaka.json("points"), before)
        self.write(3 * MIB, b"after the loss")
        state, point = self.content(), self.backup()
        self.assertEqual(point["mode"], "incremental")
        self.assert_same(self.restored(point["id"]), state, "after a rebuild")

    def test_key_slots_are_added_and_removed(self):
        self.three_points()
        self.pair.stop()
        passphrase = os.path.join(self.dir, "passphrase")
        with open(passphrase, "w") as f:
            f.write("correct horse\n")
        self.pair.osaka.run("store", "key", "add", "--name", "sheet", "--new-passphrase-file", passphrase)
        bare = [self.pair.tokyo.binary, "--store", self.pair.store_url, "--json",
                "--passphrase-file", passphrase, "verify", "--read-data"]
        self.assertEqual(subprocess.run(bare, stdout=subprocess.DEVNULL).returncode, 0)
        slots = self.pair.osaka.json("store", "key", "list")["slots"]
        self.assertEqual([s["name"] for s in slots], ["key file", "sheet"])
        self.pair.osaka.run("store", "key", "remove", "sheet")
        self.assertEqual(subprocess.run(bare, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode, 5)
        self.pair.osaka.run("store", "key", "remove", "key file", code=5)

    def test_equal_data_is_stored_once_across_images(self):
        self.create(mib=16)
        self.fill(12)
        data = self.content()
        self.create("twin", mib=16)
        self.write(0, data, "twin")
        self.backup()
        twin = self.backup(asset="rbd/rbd/twin")
        self.assertLess(twin["shipped_bytes"], 64 * 1024)
        self.assert_same(self.restored(twin["id"], asset="tokyo:rbd/rbd/twin"), data, "twin")

    def test_usage_errors_exit_with_2(self):
        for args in (["nonsense"], ["restore", "rbd/rbd/vol"], ["restore", "vol", "--to", "rbd/x"],
                     ["points", "show", "xyz"], ["verify", "--read-data=200"],
                     ["restore", "rbd/rbd/vol", "--to", "rbd/x", "--format", "rbd-diff"],
                     ["backup", "rbd/rbd/../vol"], ["backup", "rbd/rbd/a\nb"]):
            self.pair.tokyo.run(*args, code=2)
        self.pair.tokyo.run("backup", "rbd/other/vol", code=4)
        self.pair.tokyo.run("version")
        self.assertIn("restore", self.pair.tokyo.run("completion", "bash").text)
        self.pair.tokyo.run("config", "check")


class PathsUnencrypted(Paths):
    pair_options = {"encrypted": False}
    test_key_slots_are_added_and_removed = None
    test_recovery_needs_the_binary_the_key_and_the_backend_alone = None
    test_in_place_follows_a_changed_size_both_ways = None
    test_usage_errors_exit_with_2 = None
    test_plan_does_nothing = None
    test_a_lost_catalog_is_rebuilt = None


class PathsRados(Case):
    """The same with the store in a pool of the second cluster."""
    backend = "rados"

    def setUp(self):
        # The pool is shared by the tests: it is emptied first.
        from cluster import Cluster
        from support import CLUSTERS
        cluster = Cluster(os.path.join(CLUSTERS, "b"), "b")
        cluster.rados("purge", "tidemark", "--yes-i-really-really-mean-it")
        super().setUp()

    test_every_point = Paths.test_every_point_restores_to_file_image_stdout_and_stream
    three_points = Paths.three_points
    test_lost_catalog = Paths.test_a_lost_catalog_is_rebuilt
    test_recovery = Paths.test_recovery_needs_the_binary_the_key_and_the_backend_alone


if __name__ == "__main__":
    main()
