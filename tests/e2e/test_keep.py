"""What is kept and what goes: rules, locks, deletions taken back, and the space that comes back."""

import os
import time

from support import Case, main

POINTS = 6


class Keep(Case):
    def setUp(self):
        self.pair_options = {"policy_extra": "    keep: { last: 2 }\n"}
        super().setUp()

    def set_keep(self, keep):
        tokyo = self.pair.tokyo
        tokyo.write_config("\n".join(f"    keep: {keep}" if line.startswith("    keep:") else line
                                     for line in tokyo.config_text().split("\n")))

    def take_points(self, count=POINTS):
        """Each with 4 MiB of its own."""
        taken = []
        for _ in range(count):
            self.fill(4)
            taken.append((self.backup()["id"], self.content()))
        return taken

    def ids(self):
        return {point["id"] for point in self.pair.osaka.json("points")["points"]}

    def store_bytes(self):
        packs = os.path.join(self.pair.store_dir, "packs")
        return sum(os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(packs) for name in names)

    def gc(self, grace="0s"):
        return self.pair.osaka.json("gc", "--grace", grace)

    def test_a_rule_is_explained_and_applied_and_its_space_comes_back(self):
        self.create()
        taken = self.take_points()
        full = self.store_bytes()
        plan = self.pair.osaka.json("retention", "plan")["points"]
        self.assertEqual([point["keep"] for point in plan], [False] * (POINTS - 2) + [True] * 2)
        self.assertEqual(plan[-2]["why"], "kept: number 2 of 2 points")
        self.assertEqual(plan[0]["why"], "goes: no line of 'keep' wants it")
        self.assertEqual(self.pair.osaka.json("retention", "apply", "--dry-run")["points"], plan)
        self.assertEqual(len(self.ids()), POINTS)

        dropped = self.pair.osaka.json("retention", "apply")
        self.assertEqual((len(dropped["dropped"]), dropped["failed"]), (POINTS - 2, []))
        self.assertEqual(self.ids(), {point for point, _ in taken[-2:]})
        # Within the grace a deletion can be taken back, and the point restored.
        self.pair.osaka.run("points", "undelete", taken[0][0])
        self.assertEqual(self.gc("1h")["points_dropped"], 0)
        self.assert_same(self.restored(taken[0][0]), taken[0][1])
        self.pair.osaka.run("points", "delete", taken[0][0])

        self.assertEqual(self.pair.osaka.json("gc", "--dry-run", "--grace", "0s")["packs_removed"], 0)
        first = self.gc()
        self.assertEqual((first["points_dropped"], first["packs_removed"]), (POINTS - 2, 0))
        self.assertGreater(first["packs_waiting"], 0)
        second = self.gc()
        self.assertEqual(second["packs_removed"], first["packs_waiting"])
        self.assertLess(self.store_bytes(), full / 2)
        self.assertEqual(self.gc()["packs_waiting"], 0)
        for point, content in taken[-2:]:
            self.assert_same(self.restored(point), content)
        self.assert_good_store()

        # The next increment, the catalog alone and the store alone know nothing else.
        taken += self.take_points(1)
        self.pair.osaka.stop_agent()
        rebuilt = self.pair.osaka.json("catalog", "rebuild")
        self.assertEqual(rebuilt["findings"], [])
        self.pair.osaka.start_agent()
        for point, content in taken[-3:]:
            self.assert_same(self.restored(point), content)
        self.assert_good_store()

    def test_a_lock_holds_whoever_asks(self):
        self.set_keep("{ last: 1, locked_for: 1h }")
        self.create(mib=8)
        taken = self.take_points(3)
        # A smaller rule later does not shorten it.
        self.set_keep("{ last: 1 }")
        taken += self.take_points(1)
        self.assertEqual(self.pair.osaka.json("retention", "apply")["dropped"], [])
        refused = self.pair.osaka.run("points", "delete", taken[0][0], code=None)
        self.assertEqual(refused.returncode, 5)
        self.assertIn("locked until", refused.errors)
        self.assertEqual(len(self.ids()), 4)

    def test_the_agent_does_it_by_itself_beside_backups(self):
        """A store whose agent collects every minute, with points every few seconds."""
        self.pair.osaka.stop_agent()
        self.pair.osaka.edit_config("store:\n", "store:\n  gc: { every: 1m, grace: 1m }\n")
        self.pair.osaka.start_agent()
        self.create(mib=8)
        taken, end = [], time.monotonic() + 140
        while time.monotonic() < end:
            taken += self.take_points(1)
            time.sleep(3)
        with open(self.pair.osaka.log_path) as log:
            collections = log.read().count("garbage collection:")
        self.assertGreaterEqual(collections, 2)
        left = self.ids()
        self.assertLess(len(left), len(taken) - 5)
        for point, content in taken:
            if point in left:
                self.assert_same(self.restored(point), content)
        self.assert_good_store()


if __name__ == "__main__":
    main()
