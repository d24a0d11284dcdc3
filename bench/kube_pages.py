"""An API server that answers from memory: as fast as it can be, so that its client is what is measured.

It has claims and their volumes in pages that were rendered before, and watches to which changes can be told. It
runs in a process of its own; `Pages` speaks to it over a pipe, one line of JSON each way.
"""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.append(os.path.join(HERE, "../tests/kube"))

import certs  # noqa: E402

CLAIMS, VOLUMES = "/api/v1/persistentvolumeclaims", "/api/v1/persistentvolumes"
BUCKETS = "/apis/objectbucket.io/v1alpha1/objectbucketclaims"
KINDS = {CLAIMS: ("v1", "PersistentVolumeClaim"), VOLUMES: ("v1", "PersistentVolume"),
         BUCKETS: ("objectbucket.io/v1alpha1", "ObjectBucketClaim")}
NAMESPACES = 50
MADE = "2026-11-22T16:15:00Z"
VERSION = 1_000_000  # of the lists; changes come after it


def managed(manager, fields):
    return {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": MADE, "fieldsType": "FieldsV1",
            "fieldsV1": fields}


def ident(what, number):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{what}-{number}"))


def claim(number):
    """As a StatefulSet and ceph-csi leave it, managedFields and all."""
    uid = ident("claim", number)
    fields = {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:tier": {}}},
              "f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {".": {}, "f:storage": {}}},
                         "f:storageClassName": {}, "f:volumeMode": {}}}
    bound = {"f:metadata": {"f:annotations": {".": {}, "f:pv.kubernetes.io/bind-completed": {},
                                              "f:pv.kubernetes.io/bound-by-controller": {}}},
             "f:spec": {"f:volumeName": {}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": f"data-{number:05}", "namespace": f"team-{number % NAMESPACES:02}", "uid": uid,
                         "resourceVersion": str(VERSION - 2 * number - 1), "creationTimestamp": MADE,
                         "labels": {"app": f"app-{number % 200}", "tier": "db" if number % 4 == 0 else "cache"},
                         "annotations": {"pv.kubernetes.io/bind-completed": "yes",
                                         "pv.kubernetes.io/bound-by-controller": "yes",
                                         "volume.kubernetes.io/storage-provisioner": "rook-ceph.rbd.csi.ceph.com"},
                         "finalizers": ["kubernetes.io/pvc-protection"],
                         "managedFields": [managed("kubectl-client-side-apply", fields),
                                           managed("kube-controller-manager", bound)]},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}},
                     "volumeName": f"pvc-{uid}", "storageClassName": "rook-ceph-block", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}}}


def image_of(number):
    return f"csi-vol-{ident('image', number)}"


def volume(number):
    uid, image = ident("claim", number), ident("image", number)
    owner = claim(number)["metadata"]
    attributes = {"clusterID": "rook-ceph", "imageFeatures": "layering", "imageFormat": "2",
                  "imageName": image_of(number), "journalPool": "replicapool", "pool": "replicapool",
                  "storage.kubernetes.io/csiProvisionerIdentity": "1764000000000-1-rook-ceph.rbd.csi.ceph.com"}
    fields = {"f:spec": {"f:accessModes": {}, "f:capacity": {".": {}, "f:storage": {}}, "f:csi": {
        ".": {}, "f:driver": {}, "f:volumeAttributes": {".": {}, **{f"f:{name}": {} for name in attributes}},
        "f:volumeHandle": {}}, "f:persistentVolumeReclaimPolicy": {}, "f:storageClassName": {}}}
    return {"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": f"pvc-{uid}", "uid": ident("volume", number), "creationTimestamp": MADE,
                         "resourceVersion": str(VERSION - 2 * number - 2),
                         "annotations": {"pv.kubernetes.io/provisioned-by": "rook-ceph.rbd.csi.ceph.com"},
                         "finalizers": ["kubernetes.io/pv-protection"],
                         "managedFields": [managed("csi-provisioner", fields)]},
            "spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"],
                     "csi": {"driver": "rook-ceph.rbd.csi.ceph.com", "fsType": "ext4",
                             "volumeHandle": f"0001-0009-rook-ceph-0000000000000002-{image}",
                             "volumeAttributes": attributes},
                     "claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "name": owner["name"],
                                  "namespace": owner["namespace"], "uid": uid,
                                  "resourceVersion": owner["resourceVersion"]},
                     "persistentVolumeReclaimPolicy": "Delete", "storageClassName": "rook-ceph-block",
                     "volumeMode": "Filesystem"},
            "status": {"phase": "Bound"}}


def compact(obj):
    return json.dumps(obj, separators=(",", ":")).encode()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder, count):
        super().__init__(("127.0.0.1", 0), Handler)
        certs.make(folder)
        self.tls = certs.server_context(folder)
        self.items = {CLAIMS: [compact(self.bare(claim(n))) for n in range(count)],
                      VOLUMES: [compact(self.bare(volume(n))) for n in range(count)], BUCKETS: []}
        self.pages = {}
        self.changed = threading.Condition()
        self.events, self.version, self.requests = [], VERSION, []

    @staticmethod
    def bare(obj):
        """As it lies in a list: without its kind."""
        return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}

    def finish_request(self, request, client_address):
        request.settimeout(30)
        stream = self.tls.wrap_socket(request, server_side=True)
        stream.settimeout(None)
        super().finish_request(stream, client_address)

    def handle_error(self, request, client_address):
        pass  # clients come and go

    def page(self, path, limit, start):
        """One page of the list, rendered once."""
        found = self.pages.get((path, limit, start))
        if found is None:
            items = self.items[path]
            left = len(items) - start - limit
            meta = {"resourceVersion": str(VERSION)}
            if left > 0:
                meta.update({"continue": str(start + limit), "remainingItemCount": left})
            version, kind = KINDS[path]
            head = compact({"kind": kind + "List", "apiVersion": version, "metadata": meta})[:-1]
            found = head + b',"items":[' + b",".join(items[start:start + limit]) + b"]}\n"
            self.pages[path, limit, start] = found
        return found

    def tell(self, path, kind, obj):
        with self.changed:
            self.version += 1
            obj["metadata"]["resourceVersion"] = str(self.version)
            self.events.append((path, compact({"type": kind, "object": obj}) + b"\n"))
            self.changed.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        split = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(split.query))
        watching = query.get("watch") in ("true", "1")
        self.server.requests.append((time.time(), "watch" if watching else "get", split.path))
        if split.path not in self.server.items:
            self.send(404, b"404 page not found\n", "text/plain; charset=utf-8")
        elif watching:
            self.watch(split.path, query)
        else:
            limit = int(query.get("limit") or len(self.server.items[split.path]))
            self.send(200, self.server.page(split.path, limit, int(query.get("continue") or 0)))

    def send(self, code, body, media="application/json"):
        self.send_response(code)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def watch(self, path, query):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        server, seen = self.server, 0
        api_version, kind = KINDS[path]
        end = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        while time.monotonic() < end:
            with server.changed:
                quiet = not server.changed.wait_for(lambda: len(server.events) > seen,
                                                    min(60, end - time.monotonic()))
                lines = [line for where, line in server.events[seen:] if where == path]
                seen, version = len(server.events), server.version
            if quiet:
                lines = [compact({"type": "BOOKMARK", "object": {
                    "kind": kind, "apiVersion": api_version,
                    "metadata": {"resourceVersion": str(version), "creationTimestamp": None}}}) + b"\n"]
            for line in lines:
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def serve(folder, count):
    """Until the pipe is closed. Commands: add a claim with its volume; what was asked so far."""
    server = Server(folder, count)
    for path in (CLAIMS, VOLUMES):
        for start in range(0, count, 250):
            server.page(path, 250, start)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if "add" in command:
            server.tell(VOLUMES, "ADDED", volume(command["add"]))
            added = claim(command["add"])
            added["metadata"]["labels"] = {"app": "added"}
            server.tell(CLAIMS, "ADDED", added)
        print(json.dumps({"requests": server.requests[command.get("since", 0):]}), flush=True)


class Pages:
    """The server's process, as whoever measures sees it."""

    def __init__(self, folder, count):
        os.makedirs(folder)
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), folder, str(count)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = json.loads(self.process.stdout.readline())["port"]
        self.kubeconfig = os.path.join(folder, "kubeconfig")
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "bench",
                  "clusters": [{"name": "bench", "cluster": {"server": f"https://127.0.0.1:{port}",
                                                             "certificate-authority": f"{folder}/ca.crt"}}],
                  "users": [{"name": "bench", "user": {"client-certificate": f"{folder}/admin.crt",
                                                       "client-key": f"{folder}/admin.key"}}],
                  "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench",
                                                             "namespace": "tidemark"}}]}
        with open(self.kubeconfig, "w") as file:
            json.dump(config, file)  # which is YAML, too

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["requests"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
