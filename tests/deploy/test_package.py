#!/usr/bin/env python3
"""The Debian package: built, looked into, unpacked, and its program run.

$TM_BUILD is a build directory with the program in it, else this is skipped.
"""

import functools
import gzip
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TM_BUILD", ROOT / "build"))
BINARY = os.environ.get("TM_BINARY") or str(BUILD / "agent/tidemark")
SKIPPED = 77
sys.path.insert(0, str(ROOT / "docs/man"))
sys.dont_write_bytecode = True
import options_page  # noqa: E402 pylint: disable=wrong-import-position


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


@functools.cache
def commands(path=()):
    """Every command that --help lists, as tuples: ("store",), ("store", "key"), ..."""
    listed = run(BINARY, *path, "--help").partition("\nSubcommands:\n")[2]
    names = [(*path, name) for name in re.findall(r"^  ([a-z-]+)\s", listed, re.M)]
    return tuple(names) + tuple(below for name in names for below in commands(name))


class ThePackage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="tidemark-deb-")
        cls.addClassCleanup(cls.folder.cleanup)
        top = pathlib.Path(cls.folder.name)
        run("cpack", "-G", "DEB", "-B", top / "out", cwd=BUILD)
        (cls.deb,) = (top / "out").glob("*.deb")
        cls.root = top / "root"
        run("dpkg", "-x", cls.deb, cls.root)
        cls.control = top / "control"
        run("dpkg-deb", "-e", cls.deb, cls.control)
        cls.listed = run("dpkg-deb", "-c", cls.deb)
        cls.version = re.search(r"project\(tidemark VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]

    def field(self, name):
        return run("dpkg-deb", "-f", self.deb, name).strip()

    def test_it_is_named_by_version_and_machine(self):
        machine = run("dpkg", "--print-architecture").strip()
        self.assertEqual(self.deb.name, f"tidemark_{self.version}_{machine}.deb")
        self.assertEqual(self.field("Version"), self.version)
        changelog = gzip.decompress((self.root / "usr/share/doc/tidemark/changelog.gz").read_bytes())
        self.assertTrue(changelog.startswith(f"tidemark ({self.version})".encode()))

    def test_it_has_these_files_and_no_others(self):
        files = {line.split()[5][2:] for line in self.listed.splitlines() if line.startswith("-")}
        outside = {f for f in files if not f.startswith("usr/share/doc/tidemark/")}
        self.assertEqual(outside, {
            "usr/bin/tidemark", "lib/systemd/system/tidemark.service",
            "usr/share/man/man8/tidemark.8.gz", "usr/share/man/man5/tidemark.yaml.5.gz",
            "usr/share/bash-completion/completions/tidemark",
            "usr/share/zsh/vendor-completions/_tidemark"})
        self.assertLessEqual({"usr/share/doc/tidemark/" + f for f in
                              ("copyright", "changelog.gz", "operations.md", "tidemark.yaml")}, files)

    def test_all_is_roots_and_the_configurations_directory_is_empty_and_closed(self):
        owners = {line.split()[1] for line in self.listed.splitlines()}
        self.assertEqual(owners, {"root/root"})
        (entry,) = [line for line in self.listed.splitlines() if line.split()[5].startswith("./etc/tidemark")]
        self.assertTrue(entry.startswith("drwxr-x---"), entry)
        self.assertFalse((self.control / "conffiles").exists())

    def test_its_program_runs_where_it_was_unpacked(self):
        self.assertEqual(run(self.root / "usr/bin/tidemark", "version"), f"tidemark {self.version}\n")

    def test_it_depends_on_the_package_of_every_library(self):
        depends = {re.split(r"[ (]", d.strip())[0] for d in self.field("Depends").split(",")}
        for package in packages_of_needed(self.root / "usr/bin/tidemark"):
            # A package may be depended on by a name that says more than its own does.
            provided = run("dpkg-query", "-W", "-f", "${Provides}", package)
            names = {package} | {re.split(r"[ (]", name.strip())[0] for name in provided.split(",")}
            self.assertTrue(names & depends, package)
        self.assertLessEqual({"adduser", "ca-certificates", "tzdata"}, depends)

    def test_the_units_program_user_and_page_are_those_of_the_package(self):
        unit = (self.root / "lib/systemd/system/tidemark.service").read_text()
        program = re.search(r"^ExecStart=(\S+)", unit, re.M)[1]
        self.assertTrue((self.root / program[1:]).is_file())
        page = re.search(r"^Documentation=file:(\S+)", unit, re.M)[1]
        self.assertTrue((self.root / page[1:]).is_file())
        user = re.search(r"^User=(\S+)", unit, re.M)[1]
        self.assertIn(f"--gecos Tidemark {user}\n", (self.control / "postinst").read_text())
        state = re.search(r"^StateDirectory=(\S+)", unit, re.M)[1]
        self.assertIn(f"--home /var/lib/{state} ", (self.control / "postinst").read_text())

    def test_its_scripts_are_sound(self):
        for name in ("postinst", "prerm", "postrm"):
            script = self.control / name
            self.assertTrue(os.access(script, os.X_OK))
            run("sh", "-n", script)
            self.assertRegex(script.read_text(), r"\nset -e\n")
        for name, argument in (("prerm", "upgrade"), ("postinst", "abort-upgrade")):
            run("sh", self.control / name, argument)  # nothing is to be done then

    def test_bash_completes_every_command(self):
        script = self.root / "usr/share/bash-completion/completions/tidemark"
        self.every_command_is_completed("bash", script, "bash", "--norc", "--noprofile")

    def every_command_is_completed(self, shell, script, *start):
        paths = sorted(commands())
        self.assertIn(("store", "key", "add"), paths)
        tests = "".join(
            f"COMP_WORDS=(tidemark {' '.join(path[:-1])} ''); COMP_CWORD={len(path)}; _tidemark;"
            f" echo \"{' '.join(path)}: ${{COMPREPLY[*]}}\"\n" for path in paths)
        out = run(*start, "-c", f". {script}\n{tests}")
        for path, line in zip(paths, out.splitlines(), strict=True):
            name, _, offered = line.partition(": ")
            self.assertEqual(name, " ".join(path), shell)
            self.assertIn(path[-1], offered.split(), line)

    def test_zsh_completes_from_the_first_time_on(self):
        zsh = shutil.which("zsh")
        if not zsh:
            self.skipTest("zsh is not there")
        folder = self.root / "usr/share/zsh/vendor-completions"
        child, terminal = pty.fork()
        if child == 0:
            os.environ.update(TERM="dumb", HOME=self.folder.name)
            os.execv(zsh, [zsh, "-f", "-i"])
        try:
            os.write(terminal, b"PS1='> '; fpath=(%s $fpath); autoload -U compinit; compinit -u -D; "
                     b"echo re''ady\n" % str(folder).encode())
            self.await_text(terminal, b"ready\r")
            os.write(terminal, b"tidemark retent\t")
            self.await_text(terminal, b"retention")
            os.write(terminal, b"app\t")
            self.await_text(terminal, b"apply")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(terminal)

    def await_text(self, terminal, text):
        seen, end = b"", time.monotonic() + 30
        while text not in seen:
            left = end - time.monotonic()
            self.assertTrue(left > 0 and select.select([terminal], [], [], left)[0], seen)
            seen += os.read(terminal, 4096)


class Pages(unittest.TestCase):
    def test_the_page_of_the_program_names_every_command(self):
        page = (ROOT / "docs/man/tidemark.8").read_text()
        section = page.partition(".Sh COMMANDS\n")[2].partition(".Sh ")[0]
        for path in commands():
            if len(path) > 1:
                self.assertRegex(section, rf"(?m)^\.It Cm {path[0]}\b.*\b{path[-1]}\b", path)
        known = {path[0] for path in commands()}
        self.assertEqual(set(re.findall(r"^\.It Cm (\S+)", section, re.M)), known)

    def test_the_page_of_the_configuration_is_made_from_the_option_table(self):
        schema = json.loads(run(BINARY, "config", "schema"))
        self.assertEqual((ROOT / "docs/man/tidemark.yaml.5").read_text(), options_page.page(schema),
                         "run docs/man/options_page.py tests/golden/config/schema.json >docs/man/tidemark.yaml.5")

    def test_groff_has_nothing_to_say_about_them(self):
        groff = shutil.which("groff")
        if not groff:
            self.skipTest("groff is not there")
        for page in ("tidemark.8", "tidemark.yaml.5"):
            out = subprocess.run([groff, "-mandoc", "-Tascii", "-ww", ROOT / "docs/man" / page],
                                 capture_output=True, text=True, check=True)
            self.assertEqual(out.stderr, "")


def packages_of_needed(program):
    """The Debian packages of the libraries that the program itself names."""
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", program))
    found = dict(re.findall(r"(\S+) => (\S+)", run("ldd", program)))
    for library in needed:
        if library in found:
            yield package_of(found[library])


def package_of(path):
    """Which package a file is of; on systems with a merged /usr dpkg knows it by either name."""
    for name in (path, os.path.realpath(path), re.sub("^/usr", "", path), "/usr" + path):
        out = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False).stdout
        if out:
            return out.split(":")[0]
    raise AssertionError(f"{path} is of no package")


if __name__ == "__main__":
    if not os.path.exists(BINARY):
        print("the program is not built", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
