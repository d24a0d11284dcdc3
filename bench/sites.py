"""What all benchmarks stand on: two real clusters, a pair of sites between them, measured runs of the
built binary, contenders in turn, and the removal of everything at the end."""

import json
import os
import shutil
import sys
import time

from cluster import Cluster
from measure import Runner, peak_bytes, sort_out
from site_pair import Pair


def tree_bytes(path):
    return sum(os.lstat(os.path.join(folder, name)).st_size
               for folder, _, names in os.walk(path) for name in names)


class SitesBench:
    """Subclasses have run() and add_rows(table). `figures` gets every number."""

    def __init__(self, options, directory, figures):
        self.options, self.dir, self.figures, self.pair = options, directory, figures, None
        self.a = Cluster(os.path.join(directory, "a"), "tokyo")
        self.b = Cluster(os.path.join(directory, "b"), "osaka")
        self.runner = Runner(os.path.join(directory, "commands.log"))
        self.began = time.monotonic()

    def path(self, name):
        return os.path.join(self.dir, name)

    def say(self, text):
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    # --- setting up, cleaning up

    def boot(self, rgw=False):
        self.say(f"booting two clusters ({self.options.objectstore})")
        for cluster in (self.a, self.b):
            cluster.start(rgw=rgw, objectstore=self.options.objectstore, osd_bytes=self.options.osd_bytes)

    def fresh_pair(self, **pair_options):
        """A pair of sites with an empty store; no agent runs yet."""
        if self.pair:
            self.pair.stop()
        shutil.rmtree(self.path("sites"), ignore_errors=True)
        self.pair = Pair(self.path("sites"), self.options.binary, self.a, self.b, **pair_options)
        self.pair.setup()

    def start_store(self, **daemons):
        """Starts the store's agent; `daemons` are accounted for besides it."""
        self.pair.osaka.start_agent()
        self.runner.daemons = {"osd": self.a.pid("osd"), "store agent": self.pair.osaka.agent.pid,
                               "store's osd": self.b.pid("osd"), **daemons}

    def close(self):
        """Removes everything, whatever had been reached."""
        self.runner.kill()
        if self.pair:
            self.pair.stop()
        for cluster in (self.a, self.b):
            cluster.destroy()

    # --- what is measured

    def tidemark(self, site, *args):
        """A measured run of the built binary; its JSON answer as `answer`."""
        out = self.path("answer.json")
        result = self.runner.run(site.command("--json", "--quiet", *args), text_out=out, profile=True)
        with open(out) as f:
            result["answer"] = json.load(f)
        result["agent_rss"] = peak_bytes(self.pair.osaka.agent.pid)
        return result

    def backup(self, asset):
        result = self.tidemark(self.pair.tokyo, "backup", asset)
        point = result["answer"]["points"][0]
        result["stored"] = tree_bytes(self.pair.store_dir)
        for key in ("shipped_bytes", "stored_bytes", "read_bytes", "changed_bytes", "duration_ms"):
            result[key] = point[key]
        return result

    def contend(self, what, contenders, number):
        """Each once, in another order every round, none with another's unwritten pages behind it."""
        for who, function in sort_out(contenders, number):
            os.sync()
            result = function()
            self.figures.add(what, who, result)
            self.say(f"{what}: {who} {result['seconds']:.2f} s, CPU {result['cpu']:.1f} s, "
                     f"daemons {result['daemons_cpu']}")
            if "threads_cpu" in result and self.options.threads:
                self.say(f"    threads: {result['threads_cpu']}")
