"""An image that is usable at once while its data follows: also over kills, and given up."""

import json
import os
import signal
import subprocess
import time

import rbd

from support import MIB, Case, main, rounds

ASSET = "tokyo:rbd/rbd/vol"


class Instant(Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.give_up)

    def give_up(self):
        """An unfinished image cannot even be opened to be removed."""
        if self.notes():
            subprocess.run(self.command("--abort"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)

    def points_of_two(self, mib=256):
        self.create(mib=mib)
        with rbd.Image(self.io["a"], "vol") as image:
            image.metadata_set("owner", "us")
        self.fill(64)
        self.write((mib - 1) * MIB, b"the end")
        first, state = self.backup(), self.content()
        self.write(0, b"later")
        self.backup()
        return first, state

    def command(self, *args):
        return self.pair.osaka.command("--json", "restore", ASSET, "--to", "rbd/back", "--instant", *args)

    def images(self):
        return rbd.RBD().list(self.io["b"])

    def notes(self):
        return [o.key for o in self.io["b"].list_objects() if o.key.startswith("tidemark.instant")]

    def begin(self, *args):
        """A run that says that the image can be used."""
        run = subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(run.wait)
        self.addCleanup(run.kill)  # before what setUp() has to be done
        for line in run.stderr:
            if "can be used now" in line:
                return run
        self.fail(f"it ended: {run.wait()}")

    def test_usable_at_once_and_complete_in_the_end(self):
        point, state = self.points_of_two()
        began = time.monotonic()
        run = self.begin("--point", point["id"])
        self.assertLess(time.monotonic() - began, 20)
        with rbd.Image(self.io["b"], "back") as image:
            self.assertEqual(image.read(255 * MIB, 7), b"the end")
            image.write(b"written meanwhile", 200 * MIB)
            self.assertEqual(image.read(5 * MIB, 4096), state[5 * MIB:5 * MIB + 4096])
        out, errors = run.communicate(timeout=120)
        self.assertEqual(run.returncode, 0, errors)
        report = json.loads(out)
        self.assertEqual((report["point"]["id"], report["resumed"]), (point["id"], False))
        self.assertLess(report["fetched_bytes"], 100 * MIB, "sparse areas are not fetched")
        wanted = bytearray(state)
        wanted[200 * MIB:200 * MIB + 17] = b"written meanwhile"
        self.assert_same(self.content("back", io=self.io["b"]), bytes(wanted), "restored")
        with rbd.Image(self.io["b"], "back") as image:
            self.assertEqual(image.metadata_get("owner"), "us")
        self.assertEqual(self.notes(), [])
        self.assertEqual(subprocess.run(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode, 5)

    def test_killed_at_any_moment_it_goes_on(self):
        point, state = self.points_of_two()
        for _ in range(rounds(4)):
            run = subprocess.Popen(self.command("--point", point["id"]), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            time.sleep(self.random.uniform(0.05, 1.0))
            run.send_signal(self.random.choice((signal.SIGKILL, signal.SIGTERM)))
            run.wait(timeout=30)
        # "latest" is another point meanwhile: what was begun is gone on with.
        done = subprocess.run(self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        if done.returncode == 5:  # it was complete before
            self.assertIn(b"exists already", done.stderr)
        else:
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout)["point"]["id"], point["id"])
        self.assert_same(self.content("back", io=self.io["b"]), state, "after the kills")
        self.assertEqual(self.notes(), [])

    def test_it_can_be_given_up(self):
        point, _ = self.points_of_two()
        self.assertEqual(subprocess.run(self.command("--abort"), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL).returncode, 4)
        run = self.begin("--point", point["id"])
        run.kill()
        run.wait()
        if "back" in self.images() and self.notes():
            aborted = subprocess.run(self.command("--abort"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
            self.assertEqual(aborted.returncode, 0, aborted.stderr)
            self.assertEqual((self.images(), self.notes()), ([], []))


if __name__ == "__main__":
    main()
