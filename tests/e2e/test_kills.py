"""kill -9 at random moments: the store's agent, and the process that backs up (figures 1 and 2).

After every kill: what was acknowledged is there and whole, no half point is listed, the next run goes
on, at most one snapshot of ours is on the image, and what had arrived is not sent again."""

import os
import signal
import subprocess
import sys
import time

from support import MIB, Case, main, rounds


class Kills(Case):
    def start_backup(self):
        return subprocess.Popen(self.pair.tokyo.command("--json", "--quiet", "backup", "rbd/rbd/vol"),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def change(self):
        for _ in range(6):
            self.write(self.random.randrange(30) * MIB, self.random.randbytes(700 * 1024))

    def check(self, acknowledged):
        listed = {p["id"] for p in self.pair.osaka.json("points")["points"]}
        self.assertLessEqual(set(acknowledged), listed, "acknowledged points are missing")
        for id in listed - set(acknowledged):
            acknowledged[id] = None  # committed, the answer lost
        self.assert_good_store()

    def test_kill_the_store(self):
        self.create(mib=48)
        self.fill(32)
        acknowledged, kills_hit = {}, 0
        for _ in range(rounds(5)):
            self.change()
            state = self.content()
            backup = self.start_backup()
            time.sleep(self.random.random() * 0.8)
            self.pair.osaka.agent.send_signal(signal.SIGKILL)
            self.pair.osaka.agent.wait()
            kills_hit += backup.poll() is None
            self.pair.osaka.start_agent()
            out, err = backup.communicate(timeout=120)
            # The source tries again by itself: most of these succeed.
            if backup.returncode != 0:
                point = self.backup()
            else:
                import json
                point = json.loads(out)["points"][0]
            acknowledged[point["id"]] = None
            self.assert_same(self.restored(point["id"]), state, "after a killed store")
            self.check(acknowledged)
            self.assertLessEqual(len(self.snapshots()), 1)
        print(f"{rounds(5)} kills of the store, {kills_hit} under a running backup", file=sys.stderr)

    def test_kill_the_source(self):
        self.create(mib=48)
        self.fill(32)
        acknowledged, hits = {}, 0
        for _ in range(rounds(5)):
            self.change()
            backup = self.start_backup()
            time.sleep(self.random.random() * 0.6)
            backup.send_signal(signal.SIGKILL)
            out, _ = backup.communicate()
            hits += backup.returncode == -signal.SIGKILL
            state, point = self.content(), self.backup()
            self.assertEqual(len(self.snapshots()), 1, "leaked snapshots")
            acknowledged[point["id"]] = None
            self.assert_same(self.restored(point["id"]), state, "after a killed source")
            self.check(acknowledged)
        print(f"{rounds(5)} kills of the source, {hits} under a running backup", file=sys.stderr)

    def test_what_had_arrived_is_not_sent_again(self):
        # Slow enough that the kill comes in the middle: 96 MiB that do not compress.
        self.create(mib=128)
        self.fill(96)
        store = os.path.join(self.pair.store_dir, "packs")
        backup = self.start_backup()

        def arrived():
            return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(store)
                       for f in files)

        while arrived() < 32 * MIB and backup.poll() is None:
            time.sleep(0.01)
        backup.kill()
        backup.wait()
        time.sleep(0.5)
        before = arrived()
        self.assertLess(before, 96 * MIB, "the backup was too quick to be killed")
        point = self.backup()
        # At most the packs under way at the kill are sent twice.
        self.assertLessEqual(point["shipped_bytes"], 96 * MIB - before + 5 * 16 * MIB)
        self.assertLessEqual(arrived(), 96 * MIB + 5 * 16 * MIB)
        self.assert_same(self.restored(point["id"]), self.content(), "resumed")

    def test_a_stopped_backup_ends_with_130_and_leaves_nothing(self):
        self.create(mib=128)
        self.fill(96)
        backup = self.start_backup()
        time.sleep(0.5)
        backup.send_signal(signal.SIGINT)
        backup.communicate(timeout=30)
        self.assertIn(backup.returncode, (130, 0))
        if backup.returncode == 130:
            self.assertEqual(self.snapshots(), [])
            self.assertEqual(self.pair.osaka.json("points")["points"], [])


if __name__ == "__main__":
    main()
