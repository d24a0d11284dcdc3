"""Claims of a large cluster: 5,000 of them with their volumes, listed and matched by `tidemark claims` and followed by
an agent. No Ceph: nothing is backed up. The API server answers from memory (kube_pages.py)."""

import json
import os
import ssl
import sys
import time
import urllib.request

from kube_pages import Pages, image_of
from measure import Runner, cpu_seconds, peak_bytes
from site_pair import Pair

FEW = 50  # what a growth of memory is held against
SETTLE_SECONDS, IDLE_SECONDS, CHANGES = 4, 60, 5
POLICIES = """  databases: { claims: { namespaces: [ "team-*" ], labels: "tier=db" }, to: osaka }
  some: { claims: { namespaces: [ "team-1*" ], labels: "app in (app-7, app-8)", storage_classes: [ rook-* ] }, to: osaka }
  added: { claims: { labels: "app=added" }, to: osaka, every: 1d, jitter: 0s }
"""


class NoCluster:
    """In the place of a site's Ceph: a configuration that leads nowhere."""

    def __init__(self, folder, name):
        self.conf = os.path.join(folder, name + ".conf")
        with open(self.conf, "w") as f:
            f.write("[global]\nmon_host = 127.0.0.1:1\nclient_mount_timeout = 1\n")


class Claims:
    def __init__(self, options, directory, figures):
        self.options, self.dir, self.figures = options, directory, figures
        self.runner = Runner(os.path.join(directory, "commands.log"))
        self.pair, self.servers, self.began = None, {}, time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def boot(self):
        self.say(f"an API server with {self.options.claims:,} claims, and one with {FEW}")
        for count in (self.options.claims, FEW):
            self.servers[count] = Pages(os.path.join(self.dir, f"kube-{count}"), count)
        self.pair = Pair(os.path.join(self.dir, "sites"), self.options.binary, NoCluster(self.dir, "a"),
                         NoCluster(self.dir, "b"))
        self.pair.setup()
        self.pair.osaka.start_agent()
        text = self.pair.tokyo.config_text()
        self.config = text[:text.index("policies:\n")] + "policies:\n" + POLICIES

    def use(self, count):
        self.pair.tokyo.write_config(f"{self.config}kubernetes: {{ kubeconfig: {self.servers[count].kubeconfig} }}\n")

    def command(self, count):
        """`tidemark claims`, once."""
        self.use(count)
        out = os.path.join(self.dir, "answer.json")
        result = self.runner.run(self.pair.tokyo.command("--json", "claims"), text_out=out, profile=True)
        with open(out) as f:
            found = json.load(f)["claims"]
        wanted = sum(number % 4 == 0 for number in range(count))
        matched = sum(one["policy"] == "databases" for one in found)
        if (len(found), matched) != (count, wanted) or any(one["problem"] for one in found):
            raise RuntimeError(f"{len(found)} claims, {matched} of them matched, in place of {count} and {wanted}")
        self.figures.add("claims", str(count), result)
        return result

    def follow(self, count):
        """The agent from its start until it knows all claims."""
        self.use(count)
        server, tokyo = self.servers[count], self.pair.tokyo
        before = len(server.ask())
        tokyo.start_agent()
        asked = self.settled(server, before)
        lists = [when for when, verb, _ in asked if verb == "get"]
        pid = tokyo.agent.pid
        result = {"seconds": lists[-1] - lists[0], "cpu": cpu_seconds(pid), "peak_rss": peak_bytes(pid), "lists": len(lists)}
        self.figures.add("agent", str(count), result)
        return result

    @staticmethod
    def settled(server, before):
        """What was asked since then, once nothing more is."""
        while True:
            asked = server.ask(since=before)
            if asked and time.time() - asked[-1][0] > SETTLE_SECONDS:
                return asked
            time.sleep(0.5)

    def see_changes(self):
        """From the moment that a claim is told until the agent has its volume among what it protects."""
        server = self.servers[self.options.claims]
        for number in range(CHANGES):
            added = self.options.claims + number + 1
            told = time.monotonic()
            server.ask(add=added)
            while image_of(added) not in self.metrics():
                if time.monotonic() > told + 30:
                    raise RuntimeError("a claim that was made is not seen")
                time.sleep(0.02)
            self.figures.add("change", "tidemark", {"seconds": time.monotonic() - told})

    def metrics(self):
        pki, port = self.pair.pki, self.pair.tokyo.port
        context = ssl.create_default_context(cafile=f"{pki}/ca.crt")
        context.load_cert_chain(f"{pki}/tokyo.crt", f"{pki}/tokyo.key")
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", context=context, timeout=20) as answer:
            return answer.read().decode()

    def idle(self):
        server, pid = self.servers[self.options.claims], self.pair.tokyo.agent.pid
        time.sleep(SETTLE_SECONDS)
        before, cpu = len(server.ask()), cpu_seconds(pid)
        time.sleep(IDLE_SECONDS)
        asked = server.ask(since=before)
        self.figures.add("idle", "tidemark", {
            "per_minute": sum(verb == "get" for _, verb, _ in asked) * 60 / IDLE_SECONDS,
            "watches": sum(verb == "watch" for _, verb, _ in asked), "cpu": cpu_seconds(pid) - cpu})

    def run(self):
        self.boot()
        for number in range(self.options.rounds):
            self.say(f"round {number + 1} of {self.options.rounds}")
            for count in (self.options.claims, FEW):
                self.command(count)
            for count in (FEW, self.options.claims):
                self.follow(count)
                if count == FEW:
                    self.pair.tokyo.stop_agent()
            self.see_changes()
            self.pair.tokyo.stop_agent()
            os.unlink(self.pair.tokyo.log_path)
        self.follow(self.options.claims)
        self.idle()

    def grown(self, what):
        pair = [self.figures.median(what, str(count), "peak_rss") for count in (self.options.claims, FEW)]
        return None if None in pair else pair[0] - pair[1]

    def add_rows(self, table):
        many, claims = str(self.options.claims), f"{self.options.claims:,} claims"
        table.alone(f"claims: {claims} listed, own time", self.figures.median("claims", many, "cpu"), "s", at_most=2)
        table.alone("claims: the command in all", self.figures.median("claims", many), "s")
        table.alone("claims: memory beyond that of 50", self.grown("claims"), "bytes", at_most=100 << 20)
        table.alone("claims: the agent's own time at its start", self.figures.median("agent", many, "cpu"), "s", at_most=2)
        table.alone("claims: until the agent has listed all", self.figures.median("agent", many), "s")
        table.alone("claims: the agent's memory beyond that of 50", self.grown("agent"), "bytes", at_most=100 << 20)
        table.alone("claims: until a new claim is protected", self.figures.median("change", "tidemark"), "s", at_most=1)
        table.alone("claims: requests a minute when idle", self.figures.median("idle", "tidemark", "per_minute"), "",
                    at_most=0)

    def close(self):
        self.runner.kill()
        if self.pair:
            self.pair.stop()
        for server in self.servers.values():
            server.close()
