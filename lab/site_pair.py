"""Two sites with an agent each, as the demo, the tests and the benchmarks use them.

A Pair is a directory with a small CA, a source site "tokyo" on one cluster and a store site "osaka" on
another. Commands are run as an operator runs them: the real binary, a configuration file, real TLS.
"""

import json
import os
import signal
import socket
import subprocess
import time

from ports import free_port


class CommandFailed(Exception):
    """A tidemark command ended with another exit code than expected."""

    def __init__(self, args, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr
        super().__init__(f"tidemark {' '.join(args)}: exit {code}\n{stdout}\n{stderr}")


class Site:
    """One site: its configuration, its agent, its commands."""

    def __init__(self, directory, name, binary, cluster):
        self.dir, self.name, self.binary, self.cluster = directory, name, binary, cluster
        self.port = free_port()
        self.agent = None
        self.config_path = os.path.join(directory, "tidemark.yaml")
        self.log_path = os.path.join(directory, "agent.log")
        os.makedirs(directory, exist_ok=True)

    def command(self, *args):
        return [self.binary, "--config", self.config_path, *args]

    def run(self, *args, code=0, timeout=600, env=None, stdout=None):
        """Runs a command; returns the completed process. `code` None accepts any exit code."""
        done = subprocess.run(
            self.command(*args), stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL, timeout=timeout, env={**os.environ, **(env or {})})
        out = (done.stdout or b"").decode(errors="replace")
        err = done.stderr.decode(errors="replace")
        if code is not None and done.returncode != code:
            raise CommandFailed(args, done.returncode, out[-4000:], err[-4000:])
        done.text, done.errors = out, err
        return done

    def config_text(self):
        with open(self.config_path) as f:
            return f.read()

    def write_config(self, text):
        with open(self.config_path, "w") as f:
            f.write(text)

    def edit_config(self, old, new):
        """Replaces what must be there."""
        text = self.config_text()
        if old not in text:
            raise ValueError(f"{self.config_path} has no {old!r}")
        self.write_config(text.replace(old, new))

    def json(self, *args, **kwargs):
        return json.loads(self.run("--json", "--quiet", *args, **kwargs).text)

    def start_agent(self, wait=True, env=None):
        with open(self.log_path, "ab") as log:
            self.agent = subprocess.Popen(
                self.command("agent"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={**os.environ, **(env or {})})
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout=60):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.agent.poll() is not None:
                with open(self.log_path, errors="replace") as log:
                    raise RuntimeError(f"agent of {self.name} ended: {log.read()[-3000:]}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"agent of {self.name} is not ready after {timeout} s")

    def stop_agent(self, sig=signal.SIGTERM, timeout=30):
        if self.agent is None:
            return
        if self.agent.poll() is None:
            self.agent.send_signal(sig)
            try:
                self.agent.wait(timeout)
            except subprocess.TimeoutExpired:
                self.agent.kill()
                self.agent.wait()
        self.agent = None


class Pair:
    """tokyo protects its images in the store of osaka."""

    def __init__(self, directory, binary, cluster_a, cluster_b, backend="file", pool="tidemark",
                 encrypted=True, peer_port=None, policy_extra="", s3=None):
        self.dir = os.path.abspath(directory)
        self.pki = os.path.join(self.dir, "pki")
        self.tokyo = Site(os.path.join(self.dir, "tokyo"), "tokyo", binary, cluster_a)
        self.osaka = Site(os.path.join(self.dir, "osaka"), "osaka", binary, cluster_b)
        self.key_file = os.path.join(self.dir, "store.key")
        self.store_dir = os.path.join(self.dir, "osaka", "store")
        self.backend, self.pool, self.encrypted = backend, pool, encrypted
        self.peer_port, self.policy_extra = peer_port, policy_extra
        self.s3 = s3 or {}  # {site name: what Cluster.create_s3_user() returned}

    @property
    def store_url(self):
        return f"file:{self.store_dir}" if self.backend == "file" else f"rados:{self.pool}"

    def setup(self):
        """Certificates, configurations and an empty store."""
        subprocess.run([self.tokyo.binary, "pki", "init", self.pki], check=True,
                       stdout=subprocess.DEVNULL)
        for site in (self.tokyo, self.osaka):
            self.issue(site.name)
            self.write_config(site)
        self.osaka.run("store", "init", *([] if self.encrypted else ["--unencrypted"]))
        return self

    def issue(self, name, *extra):
        subprocess.run([self.tokyo.binary, "pki", "issue", self.pki, "--site", name,
                        "--host", "127.0.0.1", "--host", "localhost", *extra], check=True,
                       stdout=subprocess.DEVNULL)

    def write_config(self, site, port=None):
        """`port`: where tokyo looks for osaka, a proxy's for instance."""
        key = f"    key_file: {self.key_file}\n" if self.encrypted else ""
        text = (f"site: {site.name}\n"
                f"tls: {{ cert: {self.pki}/{site.name}.crt, key: {self.pki}/{site.name}.key,"
                f" ca: {self.pki}/ca.crt }}\n"
                f"listen: 127.0.0.1:{site.port}\n"
                f"state: {site.dir}/state\n"
                f"ceph: {{ conf: {site.cluster.conf}, user: admin }}\n")
        if site.name in self.s3:
            text += self.s3_section(site)
        if site is self.osaka:
            text += "store:\n" + (f"  backend: {{ type: file, path: {self.store_dir} }}\n"
                                  if self.backend == "file" else
                                  f"  backend: {{ type: rados, pool: {self.pool} }}\n")
            text += key.replace("    ", "  ")
            text += "peers:\n  tokyo: {}\n"
        else:
            port = port or self.peer_port or self.osaka.port
            text += f"peers:\n  osaka:\n    url: https://127.0.0.1:{port}\n{key}"
            buckets = ", \"s3/*\"" if site.name in self.s3 else ""
            text += ("policies:\n  all:\n"
                     f"    assets: [ \"rbd/rbd/*\", \"rbd/rbd/tenant/*\"{buckets} ]\n    to: osaka\n"
                     + self.policy_extra)
        site.write_config(text)

    def s3_section(self, site):
        user, files = self.s3[site.name], {}
        for key in ("access_key", "secret_key"):
            files[key] = os.path.join(site.dir, key)
            with open(files[key], "w") as f:
                f.write(user[key] + "\n")
            os.chmod(files[key], 0o600)
        return (f"s3: {{ endpoint: \"{user['endpoint']}\", access_key_file: {files['access_key']},"
                f" secret_key_file: {files['secret_key']} }}\n")

    def start(self):
        self.osaka.start_agent()
        self.tokyo.start_agent()
        return self

    def stop(self):
        self.tokyo.stop_agent()
        self.osaka.stop_agent()

    def backup(self, *args, **kwargs):
        return self.tokyo.json("backup", *args, **kwargs)["points"]

    def restore_to_file(self, path, point=None, site=None, asset="tokyo:rbd/rbd/vol", **kwargs):
        chosen = ["--point", point] if point else []
        return (site or self.osaka).json("restore", asset, *chosen, "--to-file", path, **kwargs)
