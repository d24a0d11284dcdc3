#!/usr/bin/env python3
"""The image: what it installs is what the program needs, and its probe tells a well agent from others.

There is no container engine in these tests: the Dockerfile is read, and what it says is held against the
program that was built and the manifests that use it.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import kustomize
from test_package import package_of, packages_of_needed

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TM_BUILD", ROOT / "build"))
BINARY = os.environ.get("TM_BINARY") or str(BUILD / "agent/tidemark")
PROBE = ROOT / "deploy/docker/probe"
SKIPPED = 77
# Of the packages that people build with: not for the program.
FOR_PEOPLE = {"ccache", "git", "libbenchmark-dev", "libgmock-dev", "libgtest-dev"}


def stages():
    text = (ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [[line.split(None, 1) for line in stage.splitlines() if line.strip()]
            for stage in re.split(r"(?m)^(?=FROM )", text) if stage.strip()]


def installed(stage):
    (command,) = [rest for word, rest in stage if word == "RUN" and "apt-get install" in rest]
    return set(command.split("--no-install-recommends")[1].split("&&")[0].split())


class TheDockerfile(unittest.TestCase):
    def setUp(self):
        self.build, self.runtime = stages()
        self.last = dict(self.runtime)

    def test_it_is_built_of_what_people_build_it_of(self):
        listed = (ROOT / "scripts/packages.txt").read_text(encoding="utf-8")
        first = listed.partition("# real clusters")[0]
        packages = {line for line in first.splitlines() if line and not line.startswith("#")}
        self.assertEqual(installed(self.build), packages - FOR_PEOPLE)
        self.assertLessEqual(FOR_PEOPLE, packages)

    def test_it_has_a_package_for_every_library_and_none_for_building(self):
        packages = installed(self.runtime)
        needed = set(packages_of_needed(BINARY))
        # Part of every Debian.
        self.assertEqual({p for p in packages if p.startswith("lib")}, needed - {"libc6", "libgcc-s1"})
        self.assertFalse({p for p in packages if p.endswith("-dev")})

    def test_every_library_that_the_program_loads_comes_with_these_packages(self):
        loaded = re.findall(r"=> (/\S+)", subprocess.run(["ldd", BINARY], capture_output=True, text=True,
                                                         check=True).stdout)
        self.assertGreater(len(loaded), 20)
        closure = dependencies(installed(self.runtime) | {"libc6", "libgcc-s1"})
        for library in loaded:
            self.assertIn(package_of(library), closure)

    def test_the_probe_and_schedules_have_what_they_use(self):
        self.assertLessEqual({"openssl", "ca-certificates", "tzdata"}, installed(self.runtime))

    def test_it_runs_as_the_user_of_the_manifests_with_no_shell_between(self):
        (deployment,) = [m for m in kustomize.render(ROOT / "deploy/kubernetes/base")
                         if m["kind"] == "Deployment"]
        pod = deployment["spec"]["template"]["spec"]
        context = pod["securityContext"]
        self.assertEqual(self.last["USER"], f"{context['runAsUser']}:{context['runAsGroup']}")
        self.assertEqual(self.last["ENTRYPOINT"], '["/usr/bin/tidemark"]')
        self.assertIn("--uid 10001", " ".join(rest for word, rest in self.runtime if word == "RUN"))
        (container,) = pod["containers"]
        self.assertNotIn("command", container)
        self.assertEqual(self.last["EXPOSE"], str(container["ports"][0]["containerPort"]))

    def test_what_is_copied_is_there_and_the_probes_are_where_the_manifests_call_them(self):
        copied = {}
        for word, rest in self.runtime:
            if word == "COPY":
                *options, source, target = rest.split()
                copied[target] = source
                if not options:
                    self.assertTrue((ROOT / source).is_file())
        self.assertEqual(copied["/usr/libexec/tidemark/probe"], "deploy/docker/probe")
        self.assertTrue(os.access(PROBE, os.X_OK))
        (deployment,) = [m for m in kustomize.render(ROOT / "deploy/kubernetes/base")
                         if m["kind"] == "Deployment"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            self.assertIn(container[probe]["exec"]["command"][0], copied)
            self.assertGreater(container[probe]["timeoutSeconds"],
                               int(re.search(r"timeout (\d+) openssl", PROBE.read_text())[1]))

    def test_it_says_its_version(self):
        version = re.search(r"project\(tidemark VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
        self.assertEqual(self.last["ARG"], "VERSION=" + version)
        self.assertIn("org.opencontainers.image.version", self.last["LABEL"])

    def test_neither_builds_nor_keys_are_sent_to_the_builder(self):
        ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self.assertLessEqual({".git", "build*", "**/*.key"}, set(ignored))


def dependencies(packages):
    """The installed packages that these pull in, themselves included."""
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package}\t${Provides}\t${Depends}, ${Pre-Depends}\n"],
                            capture_output=True, text=True, check=True).stdout
    def names(field):
        return {re.split(r"[ (:]", name.strip())[0] for name in re.split(r"[,|]", field) if name.strip()}
    needs, provider = {}, {}
    for line in listed.splitlines():
        package, provides, depends = line.split("\t")
        needs.setdefault(package, set()).update(names(depends))
        for name in names(provides) | {package}:
            provider.setdefault(name, set()).add(package)
    found, open_ones = set(), set(packages)
    while open_ones:
        package = open_ones.pop()
        for real in provider.get(package, ()):
            if real not in found:
                found.add(real)
                open_ones |= needs[real]
    return found


CONFIG = """site: osaka
tls: {{ cert: tls/tls.crt, key: tls/tls.key, ca: tls/ca.crt }}
listen: 127.0.0.1:0
state: {top}/state
store: {{ backend: {{ type: file, path: {top}/store }}, key_file: store.key }}
"""


class TheProbe(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tidemark-probe-")
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)
        self.tidemark("pki", "init", self.top / "pki")
        self.tidemark("pki", "issue", self.top / "pki", "--site", "osaka", "--host", "osaka.example")
        tls = self.top / "tls"
        tls.mkdir()
        for source, name in (("osaka.crt", "tls.crt"), ("osaka.key", "tls.key"), ("ca.crt", "ca.crt")):
            (tls / name).write_bytes((self.top / "pki" / source).read_bytes())
        self.config = self.top / "tidemark.yaml"
        self.config.write_text(CONFIG.format(top=self.top), encoding="utf-8")
        # The key is there before the store is: as in a cluster, where it comes from a Secret.
        (self.top / "store.key").write_text("tidemark-key-1 " + os.urandom(32).hex() + "\n", encoding="ascii")
        self.tidemark("--config", self.config, "store", "init")

    def tidemark(self, *arguments):
        subprocess.run([BINARY, *arguments], check=True, capture_output=True)

    def start(self):
        log = self.top / "log"
        with open(log, "wb") as out:
            agent = subprocess.Popen([BINARY, "--config", self.config, "agent"], stderr=out)
        self.addCleanup(self.end, agent)
        port = self.wait_for(lambda: re.search(r"is ready, port (\d+)", log.read_text()))[1]
        self.address = "127.0.0.1:" + port
        return agent

    def end(self, agent):
        if agent.poll() is None:
            agent.send_signal(signal.SIGCONT)
            agent.kill()
            agent.wait()

    def wait_for(self, condition):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError("it did not come")

    def probe(self, what, tls="tls"):
        return subprocess.run([PROBE, what, self.address, self.top / "state", self.top / tls],
                              capture_output=True, text=True, check=False)

    def test_it_says_yes_while_the_agent_is_well_and_no_when_it_is_gone(self):
        agent = self.start()
        self.wait_for((self.top / "state/status.json").exists)
        for what in ("ready", "alive"):
            said = self.probe(what)
            self.assertEqual((said.returncode, said.stderr), (0, ""), what)
        agent.terminate()
        self.assertEqual(agent.wait(60), 0)
        for what in ("ready", "alive"):
            self.assertEqual(self.probe(what).returncode, 1, what)

    def test_an_agent_that_hangs_is_neither(self):
        agent = self.start()
        self.wait_for((self.top / "state/status.json").exists)
        agent.send_signal(signal.SIGSTOP)
        said = self.probe("ready")
        self.assertEqual((said.returncode, said.stderr), (1, "/readyz: no answer\n"))

    def test_an_agent_that_writes_no_status_is_not_alive(self):
        self.start()
        status = self.top / "state/status.json"
        self.wait_for(status.exists)
        # Beside the agent's own: what another directory has is not touched by it.
        (self.top / "state").rename(self.top / "moved")
        (self.top / "state").mkdir()
        self.assertEqual(self.probe("alive").returncode, 1)
        status.write_text("{}", encoding="ascii")
        self.assertEqual(self.probe("alive").returncode, 0)
        os.utime(status, (time.time() - 600, time.time() - 600))
        said = self.probe("alive")
        self.assertEqual(said.returncode, 1)
        self.assertIn("no status for 60", said.stderr)
        self.assertEqual(self.probe("ready").returncode, 0)

    def test_it_needs_the_agents_certificate(self):
        self.start()
        self.tidemark("pki", "init", self.top / "other")
        self.tidemark("pki", "issue", self.top / "other", "--site", "osaka", "--host", "osaka.example")
        for name in ("tls.crt", "tls.key"):
            (self.top / "other/osaka").with_suffix(name[3:]).rename(self.top / "other" / name)
        self.assertEqual(self.probe("ready", "other").returncode, 1)
        self.assertEqual(self.probe("ready").returncode, 0)

    def test_it_refuses_what_it_does_not_know(self):
        for arguments in ([], ["healthy"], ["ready", "a", "b", "c", "d"]):
            said = subprocess.run([PROBE, *arguments], capture_output=True, check=False)
            self.assertEqual(said.returncode, 2)


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        print("the program is not built", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
