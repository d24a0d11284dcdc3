#!/usr/bin/env python3
"""A small Kubernetes API server for tests. README.md says what it does and how to hurt it."""

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback

import yaml

import auth
import certs
import provisioner
import wire
from admin import Admin
from api import Api
from controllers import Controllers
from errors import ApiError
from faults import Faults
from objects import Call, Objects
from registry import Registry
from store import Store

BASE_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Server:
    """Everything of one server. `start`, then `stop`; in between it is used over the network."""

    def __init__(self, options):
        self.options = options
        certs.make(options.dir)
        self.store = Store(options.first_version)
        self.registry = Registry()
        self.objects = Objects(self.store, self.registry)
        with open(os.path.join(options.dir, "ca.crt"), encoding="utf-8") as file:
            self.objects.root_certificate = file.read()
        self.tokens = auth.Tokens(options.token_file, options.token_leeway)
        self.authorizer = auth.Authorizer(self.store)
        self.faults = Faults(options.bookmark_seconds)
        self.controllers = Controllers(self.store, self.objects, self.registry, options.crd_delay)
        self.admin = Admin(self)
        self.api = Api(self)
        self.provisioners = []
        self.listener = None

    @property
    def port(self):
        return self.listener.port

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def start(self):
        for obj in auth.bootstrap():
            self.load(obj)
        for name in BASE_NAMESPACES:
            self.load({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.controllers.start()
        for path in self.options.manifest:
            self.load_file(path)
        if self.options.ceph_conf:
            self.provisioners.append(provisioner.Volumes(self, self.options.ceph_conf))
        if self.options.ceph_conf and self.options.rgw_endpoint:
            self.provisioners.append(provisioner.Buckets(self, self.options.ceph_conf,
                                                         self.options.rgw_endpoint))
        for one in self.provisioners:
            one.start()
        self._listen(self.options.port)

    def _listen(self, port):
        self.listener = wire.Listener(port, certs.server_context(self.options.dir), self._serve)
        threading.Thread(target=self.listener.run, daemon=True).start()

    def restart(self, down_seconds):
        """As a server that is killed and comes back at its port: what etcd has is there again."""
        self.listener.close()
        self.listener.drop_all()
        time.sleep(down_seconds)
        self._listen(self.listener.port)

    def stop(self):
        """Ends it at once: connections are cut, as by SIGKILL."""
        self.listener.close()
        self.listener.drop_all()
        self.controllers.stop()
        for one in self.provisioners:
            one.stop()

    def load(self, obj):
        """Creates one object as the administrator would. Waits for its CRD if it needs one."""
        deadline = time.monotonic() + 10
        while True:
            res = self.registry.of_kind(obj["apiVersion"], obj["kind"])
            if res is not None:
                break
            if time.monotonic() > deadline:
                raise ApiError(404, f"no kind {obj['kind']} in {obj['apiVersion']}")
            time.sleep(0.02)
        namespace = obj.get("metadata", {}).get("namespace", "default") if res.namespaced else ""
        return self.objects.create(res, namespace, obj, Call("kubectl"))

    def load_file(self, path):
        """Creates all objects of a YAML file, in its order."""
        with open(path, encoding="utf-8") as file:
            for obj in yaml.safe_load_all(file):
                for one in (obj or {}).get("items", [obj]) if obj else []:
                    self.load(one)

    def silence(self, seconds):
        self.faults.silent_until = time.monotonic() + seconds

    def _serve(self, connection):
        while True:
            request = connection.read_request()
            quiet = self.faults.silent_until - time.monotonic()
            if quiet > 0 and not request.path.startswith("/_test/"):
                time.sleep(quiet)
            try:
                self.api.handle(connection, request)
            except wire.Gone:
                raise
            except Exception as error:  # a mistake of this server: seen by the client and the log
                traceback.print_exc()
                if connection.used:
                    return
                connection.json(500, request, ApiError(
                    500, f"mistake in the test server: {error!r}", "InternalError").status())
            if not connection.keep:
                return


def kubeconfig(server):
    """A kubeconfig of the administrator, with paths of the certificates."""
    folder = os.path.abspath(server.options.dir)
    return {"apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": server.url, "certificate-authority": f"{folder}/ca.crt"}}],
            "users": [{"name": "admin", "user": {"client-certificate": f"{folder}/admin.crt",
                                                 "client-key": f"{folder}/admin.key"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}]}


def parser():
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--dir", required=True, help="certificates, kubeconfig and port lie there")
    found.add_argument("--port", type=int, default=0)
    found.add_argument("--token-file", help="JSON list of token, user, groups, expires")
    found.add_argument("--token-leeway", type=float, default=0.0,
                       help="seconds for which a token lives on after its expiry")
    found.add_argument("--manifest", action="append", default=[], help="YAML to load at start")
    found.add_argument("--bookmark-seconds", type=float, default=60.0)
    found.add_argument("--crd-delay", type=float, default=0.3,
                       help="seconds until a new CRD is established")
    found.add_argument("--watch-list", action="store_true", help="allow sendInitialEvents")
    found.add_argument("--first-version", type=int, default=1)
    found.add_argument("--exec-root", help="directory under which commands of exec run")
    found.add_argument("--ceph-conf", help="a real cluster: images are made there for claims")
    found.add_argument("--rgw-endpoint", help="its gateway: buckets are made there for OBCs")
    return found


def main(arguments=None):
    options = parser().parse_args(arguments)
    server = Server(options)
    server.start()
    with open(os.path.join(options.dir, "kubeconfig"), "w", encoding="utf-8") as file:
        yaml.safe_dump(kubeconfig(server), file)
    print(json.dumps({"url": server.url, "port": server.port, "pid": os.getpid(),
                      "dir": os.path.abspath(options.dir)}), flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
