"""A server in this process, for tests: started in a directory of its own, ended with the test."""

import os
import shutil
import tempfile
import time

import apiserver
from client import Client


HERE = os.path.dirname(os.path.abspath(__file__))


class Harness:
    def __init__(self, *arguments):
        self.folder = tempfile.mkdtemp(prefix="kube-test-")
        options = apiserver.parser().parse_args(["--dir", self.folder, *arguments])
        self.server = apiserver.Server(options)
        self.server.start()
        self.port = self.server.port
        self.admin = Client(self.port, self.folder)

    def close(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self, down_seconds=1.0):
        """What is stored stays; connections are cut, and for a while there is nobody at the port."""
        self.server.restart(down_seconds)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def as_token(self, token):
        return Client(self.port, self.folder, token=token)

    def test(self, name, body=None, method="POST"):
        """One of /_test; fails loudly."""
        answer = self.admin.send(method, f"/_test/{name}", body if body is not None else {})
        if answer.code != 200:
            raise AssertionError(f"/_test/{name}: {answer.code} {answer.body!r}")
        return answer.json

    def make(self, path, obj):
        answer = self.admin.post(path, obj)
        if answer.code != 201:
            raise AssertionError(f"{path}: {answer.code} {answer.body!r}")
        return answer.json

    def namespace(self, name):
        """A namespace with all that the controllers put into one."""
        made = self.make("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace",
                                                "metadata": {"name": name}})
        path = f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt"
        wait_for(lambda: self.admin.get(path).code == 200, f"{name} is furnished")
        return made

    def crd(self, obj):
        """Posts a CRD and waits until its resources are served."""
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", obj)
        spec = obj["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        wait_for(lambda: self.admin.get(path).code == 200, f"{path} is served")


def wait_for(condition, what, seconds=10.0):
    """Waits until `condition` is true and returns what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.02)
