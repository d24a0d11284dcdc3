"""What is left on protected images: never too much, nothing that nobody needs, nothing of others touched."""

import json
import os
import signal
import time

import rbd

from support import Case, main


class Snapshots(Case):
    def setUp(self):
        super().setUp()
        self.tokyo = self.pair.tokyo
        self.tokyo.edit_config(", \"rbd/rbd/tenant/*\"", "")

    def take(self, *names, of="vol"):
        with rbd.Image(self.io["a"], of) as image:
            for name in names:
                image.create_snap(name)

    def ours(self, name="vol"):
        return [snap for snap in self.snapshots(name) if snap.startswith("tidemark.")]

    def add_option(self, text):
        self.tokyo.edit_config("policies:\n", f"{text}\npolicies:\n")

    def test_room_is_left_for_others(self):
        self.add_option("snapshots: { room: 6 }")
        self.create(mib=4)
        others = [f"csi-{i}" for i in range(6)]
        self.take(*others)
        refused = self.tokyo.run("backup", "rbd/rbd/vol", code=None)
        self.assertEqual(refused.returncode, 5)
        self.assertIn("it has 6 snapshots, and room is left for others", refused.errors)
        self.assertIn("snapshots.room", refused.errors)
        self.assertEqual(self.snapshots(), others)
        with rbd.Image(self.io["a"], "vol") as image:
            image.remove_snap("csi-3")
        self.backup()
        self.assertEqual(len(self.ours()), 1)
        self.assertEqual(len(self.snapshots()), 6)

    def test_ours_are_never_more_than_allowed(self):
        self.add_option("snapshots: { per_image: 3 }")
        self.create(mib=4)
        self.backup()
        base = self.ours()[0]
        # What interrupted runs leave for this store goes; what is another store's is not ours to judge.
        store = base.split(".")[1]
        left = [f"tidemark.{store}.{i:032x}" for i in range(2)]
        self.take(*left, "tidemark.not-ours", f"tidemark.{store}.nor-this")
        self.backup()
        self.assertEqual(len(self.ours()), 3)  # with the two that only look alike
        self.assertFalse(set(left) & set(self.snapshots()))
        foreign = [f"tidemark.{'ab' * 8}.{i:032x}" for i in range(2)]
        self.take(*foreign)
        before = self.snapshots()
        refused = self.tokyo.run("backup", "rbd/rbd/vol", code=None)
        self.assertEqual(refused.returncode, 5)
        self.assertIn("snapshots of ours", refused.errors)
        self.assertEqual(self.snapshots(), before)

    def test_what_no_policy_needs_any_more_goes_after_its_time(self):
        self.add_option("snapshots: { orphans_after: 3s }")
        self.create(mib=4)
        self.create("other", mib=4)
        self.create("gone", mib=4)
        for name in ("vol", "other", "gone"):
            self.backup(asset=f"rbd/rbd/{name}")
        self.take("mine", f"tidemark.{'cd' * 8}.{7:032x}", of="other")
        self.remove_image(self.io["a"], "gone")
        self.tokyo.start_agent()
        time.sleep(5)
        self.assertEqual((len(self.ours()), len(self.ours("other"))), (1, 2), "all of it is needed")
        self.tokyo.edit_config("to: osaka\n", "to: osaka\n    exclude: [ rbd/rbd/other, rbd/rbd/gone ]\n")
        self.tokyo.agent.send_signal(signal.SIGHUP)
        # Not through the trash, either.
        self.wait_for("the snapshot goes",
                      lambda: self.snapshots("other") == ["mine", f"tidemark.{'cd' * 8}.{7:032x}"])
        self.assertEqual(len(self.ours()), 1)

        def known():
            with open(os.path.join(self.tokyo.dir, "state", "sources.json")) as f:
                return [entry["asset"] for entry in json.load(f)["sources"]]
        self.wait_for("an image that is gone is forgotten", lambda: known() == ["rbd/rbd/vol"])
        # Put back, it is read as a whole and protected as before.
        self.tokyo.edit_config("    exclude: [ rbd/rbd/other, rbd/rbd/gone ]\n", "")
        self.tokyo.stop_agent()
        self.backup(asset="rbd/rbd/other")
        self.assertEqual(len(self.ours("other")), 2)
        self.assert_good_store()

    def test_a_kill_before_the_policy_went_leaves_nothing(self):
        self.add_option("snapshots: { orphans_after: 2s }")
        self.create(mib=64)
        self.fill(64)
        self.tokyo.edit_config("to: osaka\n", "to: osaka\n    every: 1s\n    bandwidth: { limit: 8MiB/s }\n")
        self.tokyo.start_agent()
        self.wait_for("a snapshot", self.ours)
        self.tokyo.stop_agent(signal.SIGKILL)
        self.tokyo.edit_config("to: osaka\n", "to: osaka\n    exclude: [ \"rbd/rbd/v*\" ]\n")
        self.tokyo.start_agent()
        self.wait_for("nothing is left", lambda: self.snapshots() == [])


if __name__ == "__main__":
    main()
