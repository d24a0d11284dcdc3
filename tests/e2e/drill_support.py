"""What the end-to-end tests of drills share."""

import json
import os

ASSET = "tokyo:rbd/rbd/vol"


class DrillPlans:
    """Of a test with a pair of sites: plans at osaka, and what comes of them."""

    def find_drills(self):
        self.osaka, self.tokyo = self.pair.osaka, self.pair.tokyo
        self.book = os.path.join(self.osaka.dir, "state", "drills")
        self.scratch = os.path.join(self.osaka.dir, "scratch")

    def plan(self, name="d", assets=ASSET, **options):
        """Adds a plan to osaka's configuration; commands read it at once."""
        options.setdefault("pool", "rbd")
        options["scratch"] = self.scratch
        text = self.osaka.config_text()
        if "\ndrills:\n" not in text:
            text += "\ndrills:\n"
        text += f"  {name}: {json.dumps({'assets': [assets], **options})}\n"
        self.osaka.write_config(text)

    def drill(self, name="d", *args, code=0):
        done = self.osaka.run("--json", "--quiet", "drill", "run", name, *args, code=None)
        self.assertEqual(done.returncode, code, done.text[-3000:] + done.errors[-3000:])
        return json.loads(done.text)["report"] if code in (0, 1, 130) else done.errors
