"""Standby images: equal to points at every step, nobody else's to write, released once and for good."""

import json
import os
import signal
import subprocess
import threading
import time

import rbd

from support import MIB, Case, main, rounds

ASSET = "rbd/rbd/vol"


class Standby(Case):
    def setUp(self):
        super().setUp()
        self.osaka, self.tokyo = self.pair.osaka, self.pair.tokyo
        self.osaka.stop_agent()
        with open(self.osaka.config_path, "a") as f:
            f.write('standby: { all: { assets: [ "tokyo:rbd/rbd/*" ], pool: rbd } }\n')
        self.osaka.start_agent()

    def standby(self, asset=ASSET):
        listed = json.loads(self.osaka.run("--json", "standby", "list", code=None).text)["standby"]
        return next((one for one in listed if one["asset"] == asset), None)

    def wait_until_at(self, point, asset=ASSET):
        def there():
            one = self.standby(asset)
            return one if one and one["state"] == "following" and one["point"] == point["id"] else None
        return self.wait_for(f"standby at {point['id'][:12]}", there)

    def copy(self, name="vol", **kwargs):
        return self.content(name, io=self.io["b"], **kwargs)

    def change(self, mib=32):
        """Writes, discards and zeros at random."""
        with rbd.Image(self.io["a"], "vol") as image:
            for _ in range(self.random.randrange(1, 12)):
                at, size = self.random.randrange(mib * MIB - 65536), self.random.randrange(1, 65536)
                if self.random.random() < 0.7:
                    image.write(self.random.randbytes(size), at)
                else:
                    image.discard(at, size)

    def promote(self, *args, code=0):
        done = self.osaka.run("--json", "standby", "promote", *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text)["standby"] if code in (0, 3) else done

    def test_it_follows_every_point_and_nobody_else_writes_to_it(self):
        self.create(mib=32)
        self.fill(8)
        states = {}
        for size in (32, 32, 48, 20, 32):
            with rbd.Image(self.io["a"], "vol") as image:
                image.resize(size * MIB)
            self.change(size)
            point = self.backup()
            states[point["id"]] = self.content()
            self.wait_until_at(point)
            self.assert_same(self.copy(), states[point["id"]], "the standby")
        kept = self.snapshots(io=self.io["b"])
        self.assertEqual(kept, [f"tidemark-standby.{point}" for point in list(states)[-3:]])
        for name in kept:
            self.assert_same(self.copy(snapshot=name), states[name.split(".")[1]], name)
        with rbd.Image(self.io["b"], "vol") as image:
            with self.assertRaises((rbd.ReadOnlyImage, OSError)):
                image.write(b"mine", 0)
                image.flush()
        self.assert_same(self.copy(), states[point["id"]], "after somebody tried to write")
        one = self.standby()
        self.assertEqual((one["lag_seconds"], one["mended"], one["token"]), (0, 0, 0))
        metrics = subprocess.run(
            ["curl", "-sS", "--cacert", f"{self.pair.pki}/ca.crt", "--cert", f"{self.pair.pki}/osaka.crt", "--key",
             f"{self.pair.pki}/osaka.key", f"https://127.0.0.1:{self.osaka.port}/metrics"],
            check=True, stdout=subprocess.PIPE, timeout=20).stdout.decode()
        for name, value in (("lag_seconds", 0), ("failed", 0), ("primary", 0), ("mended_total", 0)):
            self.assertRegex(metrics, rf'tidemark_standby_{name}\{{site="tokyo",asset="rbd/rbd/vol",image="rbd/vol"\}} {value}\n')

    def test_changes_of_others_are_noticed_and_mended(self):
        self.create(mib=16)
        self.fill(4)
        point = self.backup()
        self.wait_until_at(point)
        self.osaka.stop_agent()
        with rbd.Image(self.io["b"], "vol") as image:
            image.write(b"x" * 5000, 3 * MIB - 7)
            image.resize(24 * MIB)
        self.osaka.start_agent()
        one = self.wait_until_at(point)
        self.assertEqual(one["mended"], 1)
        self.assert_same(self.copy(), self.content(), "mended")

    def test_an_image_of_others_is_left_alone(self):
        self.create(io=self.io["b"], mib=4)
        self.write(0, b"theirs", io=self.io["b"])
        self.create(mib=4)
        self.backup()
        one = self.wait_for("a problem", lambda: (lambda s: s if s and s["state"] == "problem" else None)(self.standby()))
        self.assertIn("no standby of ours", one["error"])
        self.assertEqual(self.copy()[:6], b"theirs")
        done = self.promote(ASSET, code=3)
        self.assertEqual(done[0]["state"], "problem")

    def test_killed_at_any_moment_it_is_a_point_again(self):
        self.create(mib=32)
        self.fill(12)
        states = {}
        for _ in range(rounds(6)):
            self.change()
            point = self.backup()
            states[point["id"]] = self.content()
            time.sleep(self.random.uniform(0, 2.0))
            self.osaka.agent.send_signal(signal.SIGKILL)
            self.osaka.agent.wait()
            self.osaka.start_agent()
        one = self.wait_until_at(point)
        self.assertEqual(one["mended"], 0, "what an interrupted agent left is not somebody else's")
        self.assert_same(self.copy(), states[point["id"]], "after the kills")
        for name in self.snapshots(io=self.io["b"]):
            self.assert_same(self.copy(snapshot=name), states[name.split(".")[1]], name)
        self.assertEqual([name for name in rbd.RBD().list(self.io["b"])], ["vol"])

    def test_a_released_image_is_used_and_the_lost_site_sends_no_more(self):
        self.create(mib=16)
        self.fill(4)
        first = self.backup()
        early = self.content()
        self.change(16)
        second = self.backup()
        late = self.content()
        self.wait_until_at(second)
        self.assertEqual(self.promote("rbd/rbd/none", code=4).returncode, 4)
        done = self.promote(f"tokyo:{ASSET}")
        self.assertEqual([(one["state"], one["token"]) for one in done], [("primary", 1)])
        self.assert_same(self.copy(), late, "the newest point")
        with rbd.Image(self.io["b"], "vol") as image:
            image.write(b"in use", 0)
        # The site that was thought lost lives on: it sends nothing, and says why.
        refused = self.tokyo.run("backup", ASSET, code=None)
        self.assertEqual(refused.returncode, 5, refused.errors)
        self.assertIn("is in use at site osaka", refused.errors)
        self.assertEqual(len(self.osaka.json("points")["points"]), 2)
        # Again, also after restarts: nothing changes, and what was written stays.
        self.osaka.stop_agent()
        self.osaka.start_agent()
        again = self.wait_for("primary", lambda: (lambda s: s if s and s["state"] == "primary" else None)(self.standby()))
        self.assertEqual(again["token"], 1)
        self.assertEqual([one["token"] for one in self.promote("--all")], [1])
        self.assertEqual(self.copy()[:6], b"in use")
        self.assertEqual(self.promote(ASSET, "--point", first["id"], code=5).returncode, 5)
        self.assertNotEqual(early, late)

    def test_at_an_older_point_and_killed_right_after_the_decision(self):
        self.create(mib=16)
        self.fill(4)
        first = self.backup()
        early = self.content()
        self.change(16)
        self.wait_until_at(self.backup())
        asked = threading.Thread(target=lambda: self.osaka.run("standby", "promote", ASSET, "--point", first["id"], code=None))
        asked.start()
        roles = os.path.join(self.pair.store_dir, "roles")
        self.wait_for("the decision", lambda: os.path.isdir(roles) and os.listdir(roles))
        self.osaka.agent.send_signal(signal.SIGKILL)
        self.osaka.agent.wait()
        asked.join()
        self.osaka.start_agent()
        self.wait_for("primary", lambda: (self.standby() or {}).get("state") == "primary")
        self.assert_same(self.copy(), early, "the point that was chosen")

    # --- and back

    def failed_over(self, here=False):
        """An image in use at osaka with writes of its own; `here`: and others at the site that was lost."""
        self.create(mib=32)
        self.fill(12)
        self.wait_until_at(self.backup())
        self.promote(ASSET)
        if here:
            self.write(20 * MIB, b"only here" * 1000)
        with rbd.Image(self.io["b"], "vol") as image:
            for _ in range(20):
                image.write(self.random.randbytes(self.random.randrange(1, 65536)), self.random.randrange(31 * MIB))
        return self.content(), self.copy()

    def demote(self, *args, code=0):
        done = self.osaka.run("--json", "standby", "demote", *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text)["standby"] if code in (0, 3) else done

    def failback(self, *args, code=0):
        done = self.tokyo.run("--json", "standby", "failback", ASSET, *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text) if code == 0 else done

    def points(self):
        return self.osaka.json("points", "tokyo:" + ASSET)["points"]

    def test_back_with_only_the_delta_and_round_again(self):
        self.create(mib=32)
        self.fill(12)
        self.wait_until_at(self.backup())
        self.assertIn("never in use", self.failback(code=5).errors)
        for round_number in range(rounds(2)):
            self.promote(ASSET)
            self.assertIn("standby demote", self.failback(code=5).errors)
            written = 0
            with rbd.Image(self.io["b"], "vol") as image:
                for _ in range(10 if round_number == 0 else 0):  # also one of which nothing came
                    data = self.random.randbytes(65536)
                    written += len(data)
                    image.write(data, self.random.randrange(31 * MIB) // 4096 * 4096)
            there = self.copy()
            self.assertEqual([one["state"] for one in self.demote(ASSET)], ["demoted"])
            self.assertEqual(self.tokyo.run("backup", ASSET, code=None).returncode, 5, "not yet back")
            with rbd.Image(self.io["b"], "vol") as image:
                with self.assertRaises((rbd.ReadOnlyImage, OSError)):
                    image.write(b"too late", 0)
                    image.flush()
            plan = self.failback("--plan")["plan"]
            self.assertEqual((plan["changed_here_bytes"], plan["discarded_point"]), (0, None))
            done = self.failback()
            self.assertIsNone(done["discarded_point"])
            self.assertLessEqual(done["written_bytes"], written)
            self.assertLessEqual(done["fetched_bytes"], 1.2 * written + 2 * MIB)
            self.assert_same(self.content(), there, "back")
            self.assertFalse([name for name in self.snapshots() if "standby" in name])
            # The roles have turned round: the standby follows again.
            self.change()
            point = self.backup()
            self.assertLess(point["shipped_bytes"], 4 * MIB)
            one = self.wait_until_at(point)
            self.assertEqual((one["mended"], one["error"]), (0, None))
            self.assert_same(self.copy(), self.content(), "the standby")
        for point in self.points():
            self.restored(point["id"])
        self.assert_good_store()

    def test_what_only_the_lost_site_had_is_kept(self):
        here, there = self.failed_over(here=True)
        with rbd.Image(self.io["b"], "vol"):  # somebody still uses it
            self.assertIn("in use", self.demote(ASSET, code=3)[0]["error"])
        self.wait_for("in use again", lambda: (self.standby() or {}).get("state") == "primary")
        self.demote(ASSET)
        plan = self.failback("--plan")["plan"]
        self.assertGreater(plan["changed_here_bytes"], 0)
        with rbd.Image(self.io["a"], "vol"):
            self.assertIn("in use", self.failback(code=5).errors)
        done = self.failback()
        self.assertEqual(done["discarded_point"]["labels"]["tidemark.discarded"], "2")
        self.assertEqual([name for name in self.snapshots(io=self.io["b"]) if name.startswith("tidemark.")], [])
        self.assert_same(self.restored(done["discarded_point"]["id"]), here, "what only tokyo had")
        self.assert_same(self.restored(), there, "the newest point")
        # What was noted on the image at osaka is not true of one that is restored.
        self.osaka.run("restore", "tokyo:" + ASSET, "--point", plan["point"], "--to", "rbd/another")
        with rbd.Image(self.io["b"], "another", read_only=True) as image:
            self.assertEqual([key for key, _ in image.metadata_list() if key.startswith("tidemark")], [])
        self.assert_same(self.content(), there, "back")

    def test_an_image_that_is_gone_comes_back_as_a_new_one(self):
        _, there = self.failed_over()
        self.remove_image(self.io["a"], "vol")
        self.demote(ASSET)
        self.assertFalse(self.failback("--plan")["plan"]["image_here"])
        self.failback()
        self.assert_same(self.content(), there, "back")
        self.wait_until_at(self.points()[-1])

    def test_a_holder_that_lost_its_image_gives_the_asset_back(self):
        here, _ = self.failed_over()
        point = self.points()[-1]
        self.osaka.stop_agent()
        self.remove_image(self.io["b"], "vol")
        self.create("vol", mib=8, io=self.io["b"])  # whatever it is now, it is nothing of ours
        self.osaka.start_agent()
        self.wait_for("the problem", lambda: (self.standby() or {}).get("state") == "problem")
        self.assertIn("is no standby of ours", self.demote(ASSET, code=3)[0]["error"])
        self.remove_image(self.io["b"], "vol")
        self.demote(ASSET, "--lost")
        self.demote(ASSET, "--lost")
        plan = self.failback("--plan")["plan"]
        self.assertEqual((plan["point"], plan["common_point"], plan["changed_here_bytes"]),
                         (point["id"], point["id"], 0))
        self.failback()
        self.assert_same(self.content(), here, "the asset goes on from its newest point")
        self.wait_until_at(self.points()[-1])

    def test_killed_on_the_way_back(self):
        here, there = self.failed_over(here=True)
        self.demote(ASSET)
        for _ in range(rounds(4)):
            run = subprocess.Popen(self.tokyo.command("--quiet", "standby", "failback", ASSET),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(self.random.uniform(0.05, 1.2))
            run.kill()
            run.wait()
        # Its watch and its lock are Ceph's to end.
        self.wait_for("back", lambda: self.tokyo.run("standby", "failback", ASSET, code=None).returncode == 0, killed=True)
        self.assert_same(self.content(), there, "back")
        kept = [point for point in self.points() if "tidemark.discarded" in point["labels"]]
        self.assertTrue(kept)
        self.assert_same(self.restored(kept[0]["id"]), here, "what only tokyo had")
        self.wait_until_at(self.points()[-1])
        self.assert_same(self.copy(), there, "the standby")

    def test_a_set_is_released_at_one_instant(self):
        for name in ("a", "b", "alone"):
            self.create(name, mib=8)
            self.fill(2, name)
        points = self.pair.backup("rbd/rbd/a", "rbd/rbd/b", "--set", "shop")
        early = {name: self.content(name) for name in ("a", "b")}
        for name in ("a", "b", "alone"):
            self.write(MIB, b"later", name)
            self.wait_until_at(self.backup(asset=f"rbd/rbd/{name}"), f"rbd/rbd/{name}")
        refused = self.promote("rbd/rbd/alone", "--set", points[0]["set"], code=4)
        self.assertIn("in a set", refused.errors)
        self.promote("--all", "--set", "no-such-set", code=4)
        done = self.promote("--all", "--set", points[0]["set"][:9])
        self.assertEqual({one["asset"]: (one["state"], one["point"]) for one in done},
                         {point["asset"]: ("primary", point["id"]) for point in points})
        for name in ("a", "b"):
            self.assert_same(self.copy(name), early[name], name)
        self.assertEqual(self.standby("rbd/rbd/alone")["state"], "following")

    def test_many_at_once(self):
        names = [f"v{i}" for i in range(8)]
        for name in names:
            self.create(name, mib=8)
            self.fill(4, name)
        self.pair.backup(*(f"rbd/rbd/{name}" for name in names))
        self.wait_for("all follow", lambda: all((self.standby(f"rbd/rbd/{name}") or {}).get("state") == "following" for name in names))
        began = time.monotonic()
        done = self.promote("--all")
        print(f"{len(done)} released in {time.monotonic() - began:.2f} s")
        self.assertEqual({one["state"] for one in done}, {"primary"})
        for name in names:
            self.assert_same(self.copy(name), self.content(name), name)


if __name__ == "__main__":
    main()
