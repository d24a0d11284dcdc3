"""What runs beside the API: binding, protection, garbage collection, namespaces, CRDs."""

import threading
import time
import traceback

import builtin
import registry as registries
from binder import CLAIMS, VOLUMES, Binder, Reporter
from errors import ApiError
from objects import Call

MANAGER = "kube-controller-manager"
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
PODS = ("", "pods")
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
SETTLE_SECONDS = 0.01  # several changes at once are looked at together


class Controllers:
    """One thread that looks at everything after each change, until nothing is left to do.

    It can be paused, as the controllers of a real cluster may lag behind for any time.
    """

    def __init__(self, store, objects, registry, crd_delay):
        self.store, self.objects, self.registry = store, objects, registry
        self.crd_delay = crd_delay
        self.binder = Binder(store, objects, registry, Reporter(
            store, registry, objects, "persistentvolume-controller"))
        self.paused = False
        self.stopped = False
        self._crds_seen = {}
        self.thread = threading.Thread(target=self._run, name="controllers", daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopped = True
        with self.store.changed:
            self.store.changed.notify_all()
        self.thread.join(5)

    def _run(self):
        seen = -1
        while not self.stopped:
            with self.store.changed:
                if self.store.rv == seen or self.paused:
                    self.store.changed.wait(0.1)
                seen_now = self.store.rv
            if self.paused or (seen_now == seen and not self._crds_waiting()):
                continue
            time.sleep(SETTLE_SECONDS)
            with self.store.lock:
                seen = self.store.rv
            for step in (self._crds, self.binder.step, self._protection, self._namespaces,
                         self._garbage):
                try:
                    step()
                except ApiError:
                    pass  # lost a race with a client: the next look sees what is
                except Exception:  # a mistake of this server: loud, but not the end of the rest
                    traceback.print_exc()

    def _crds_waiting(self):
        return any(not self._established(crd) or crd["metadata"]["uid"] not in self._crds_seen
                   for crd in self.store.items(CRDS))

    # Custom resource definitions

    @staticmethod
    def _established(crd):
        return any(c["type"] == "Established" and c["status"] == "True"
                   for c in crd["status"].get("conditions") or [])

    def _crds(self):
        res = self.registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        clock = time.monotonic()
        for crd in self.store.items(CRDS):
            uid, generation = crd["metadata"]["uid"], crd["metadata"]["generation"]
            if crd["metadata"].get("deletionTimestamp"):
                self._remove_crd(res, crd)
                continue
            if not self._established(crd):
                begun = self._crds_seen.setdefault((uid, "begun"), clock)
                if clock - begun >= self.crd_delay:
                    self.objects.change(res, crd, self._establish, "kube-apiserver", "status")
            elif self._crds_seen.get(uid) != generation:
                self._crds_seen[uid] = generation
                self.registry.remove(crd["spec"]["group"], crd["spec"]["names"]["plural"])
                self.registry.install(registries.of_crd(crd))

    @staticmethod
    def _establish(crd):
        now = builtin.now()
        crd["status"] = {
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "lastTransitionTime": now,
                 "reason": "NoConflicts", "message": "no conflicts found"},
                {"type": "Established", "status": "True", "lastTransitionTime": now,
                 "reason": "InitialNamesAccepted",
                 "message": "the initial names have been accepted"}],
            "acceptedNames": dict(crd["spec"]["names"]),
            "storedVersions": crd["status"]["storedVersions"]}

    def _remove_crd(self, res, crd):
        spec = crd["spec"]
        storage = (spec["group"], spec["names"]["plural"])
        mine = self.registry.of_storage(storage)
        for obj in self.store.items(storage) if mine else []:
            self._delete(mine, obj)
        if self.store.items(storage):
            return
        self.registry.remove(*storage)

        def alter(new):
            new["metadata"]["finalizers"] = [f for f in new["metadata"].get("finalizers") or []
                                             if f != CLEANUP]
        self.objects.change(res, crd, alter, "kube-apiserver")

    # Protection

    def _protection(self):
        volumes = self.registry.find("", "v1", "persistentvolumes")
        for volume in self.store.items(VOLUMES):
            if volume["metadata"].get("deletionTimestamp") and \
                    volume["status"].get("phase") != "Bound":
                self._unprotect(volumes, volume, "kubernetes.io/pv-protection")
        claims = self.registry.find("", "v1", "persistentvolumeclaims")
        for claim in self.store.items(CLAIMS):
            if claim["metadata"].get("deletionTimestamp") and not self._used(claim):
                self._unprotect(claims, claim, "kubernetes.io/pvc-protection")

    def _unprotect(self, res, obj, finalizer):
        if finalizer not in (obj["metadata"].get("finalizers") or []):
            return

        def alter(new):
            new["metadata"]["finalizers"] = [f for f in new["metadata"]["finalizers"]
                                             if f != finalizer]
        self.objects.change(res, obj, alter, MANAGER)

    def _used(self, claim):
        meta = claim["metadata"]
        for pod in self.store.items(PODS):
            if pod["metadata"]["namespace"] != meta["namespace"] or (
                    pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                continue
            for volume in (pod.get("spec") or {}).get("volumes") or []:
                if (volume.get("persistentVolumeClaim") or {}).get("claimName") == meta["name"]:
                    return True
        return False

    # Namespaces

    def _namespaces(self):
        res = self.registry.find("", "v1", "namespaces")
        for namespace in self.store.items(("", "namespaces")):
            name = namespace["metadata"]["name"]
            if not namespace["metadata"].get("deletionTimestamp"):
                self._furnish(name)
                continue
            left = False
            for storage in self.store.storages():
                mine = self.registry.of_storage(storage)
                for obj in self.store.items(storage) if mine and mine.namespaced else []:
                    if obj["metadata"]["namespace"] == name:
                        left = True
                        self._delete(mine, obj)
            if not left:
                def alter(new):
                    new["spec"]["finalizers"] = []
                self.objects.change(res, namespace, alter, MANAGER, "finalize")

    def _furnish(self, name):
        """What every namespace gets: a service account and the certificate of the cluster."""
        for plural, obj in (("serviceaccounts", {"metadata": {"name": "default"}}),
                            ("configmaps", {"metadata": {"name": "kube-root-ca.crt"},
                                            "data": {"ca.crt": self.objects.root_certificate}})):
            res = self.registry.find("", "v1", plural)
            if self.store.get(res.storage, name, obj["metadata"]["name"]) is None:
                self.objects.create(res, name, {"kind": res.kind, "apiVersion": "v1", **obj},
                                    Call(MANAGER))

    def _delete(self, res, obj, policy=None):
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return
        options = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": policy}
        try:
            self.objects.delete(res, meta.get("namespace"), meta["name"], options, Call(MANAGER))
        except ApiError:
            pass  # gone, or another one of that name

    # Garbage collection

    def _owner(self, reference, namespace):
        """The owner, None if it is gone, or True where its kind is not known (so: kept)."""
        res = self.registry.of_kind(reference["apiVersion"], reference["kind"])
        if res is None:
            return True
        found = self.store.get(res.storage, namespace if res.namespaced else "",
                               reference["name"])
        return found if found and found["metadata"]["uid"] == reference["uid"] else None

    def _garbage(self):
        dependents = {}
        for storage in self.store.storages():
            res = self.registry.of_storage(storage)
            for obj in self.store.items(storage) if res else []:
                references = obj["metadata"].get("ownerReferences") or []
                for reference in references:
                    dependents.setdefault(reference["uid"], []).append((res, obj))
                place = obj["metadata"].get("namespace")
                if references and all(self._owner(r, place) is None for r in references):
                    self._delete(res, obj)
        for storage in self.store.storages():
            res = self.registry.of_storage(storage)
            for obj in self.store.items(storage) if res else []:
                meta = obj["metadata"]
                if meta.get("deletionTimestamp") and meta.get("finalizers"):
                    self._finish(res, obj, dependents.get(meta["uid"], []))

    def _finish(self, res, owner, dependents):
        finalizers, uid = owner["metadata"]["finalizers"], owner["metadata"]["uid"]
        if "foregroundDeletion" in finalizers:
            blocking = [(r, d) for r, d in dependents if any(
                o["uid"] == uid and o.get("blockOwnerDeletion")
                for o in d["metadata"]["ownerReferences"])]
            for res_of, dependent in dependents:
                self._delete(res_of, dependent)
            if not blocking:
                self._unprotect(res, owner, "foregroundDeletion")
        elif "orphan" in finalizers:
            def alter(new):
                new["metadata"]["ownerReferences"] = [
                    o for o in new["metadata"]["ownerReferences"] if o["uid"] != uid]
            for res_of, dependent in dependents:
                self.objects.change(res_of, dependent, alter, MANAGER)
            self._unprotect(res, owner, "orphan")
