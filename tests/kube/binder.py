"""Binding of claims and volumes, by the rules of the persistent volume controller."""

import time

import builtin
from errors import ApiError
from objects import Call
from quantity import parse

CLAIMS, VOLUMES = ("", "persistentvolumeclaims"), ("", "persistentvolumes")
CLASSES = ("storage.k8s.io", "storageclasses")
COMPLETED = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
MANAGER = "kube-controller-manager"


def annotation(obj, name):
    return (obj["metadata"].get("annotations") or {}).get(name)


def _annotate(obj, **values):
    obj["metadata"].setdefault("annotations", {}).update(values)


def names_claim(volume, claim):
    """Whether the volume's claimRef is to this claim, or reserves it for one of this name."""
    ref, meta = volume["spec"].get("claimRef"), claim["metadata"]
    return bool(ref) and (ref.get("namespace"), ref.get("name")) == (
        meta["namespace"], meta["name"]) and ref.get("uid") in (None, meta["uid"])


def satisfies(volume, claim):
    want, have = claim["spec"], volume["spec"]
    return (parse(have.get("capacity", {}).get("storage", "0")) >= parse(
        want["resources"]["requests"]["storage"])
        and set(want["accessModes"]) <= set(have["accessModes"])
        and want.get("volumeMode", "Filesystem") == have.get("volumeMode", "Filesystem")
        and want.get("storageClassName", "") == have.get("storageClassName", ""))


class Binder:
    """`step` brings each claim and each volume one step on. Called by the controllers' thread."""

    def __init__(self, store, objects, registry, report):
        self.store, self.objects, self.report = store, objects, report
        self.claims = registry.find("", "v1", "persistentvolumeclaims")
        self.volumes = registry.find("", "v1", "persistentvolumes")

    def step(self):
        for volume in self.store.items(VOLUMES):
            self._volume(volume)
        for claim in self.store.items(CLAIMS):
            if claim["metadata"].get("deletionTimestamp"):
                continue
            if annotation(claim, COMPLETED):
                self._bound_claim(claim)
            else:
                self._unbound_claim(claim)

    # Volumes

    def _phase(self, volume, phase):
        if volume.get("status", {}).get("phase") == phase:
            return

        def alter(new):
            new["status"] = {"phase": phase, "lastPhaseTransitionTime": builtin.now()}
        self.objects.change(self.volumes, volume, alter, MANAGER, "status")

    def _claim_of(self, volume):
        ref = volume["spec"]["claimRef"]
        found = self.store.get(CLAIMS, ref.get("namespace"), ref.get("name"))
        return found if found and ref.get("uid") in (None, found["metadata"]["uid"]) else None

    def _volume(self, volume):
        ref = volume["spec"].get("claimRef")
        if not ref or not ref.get("uid"):
            self._phase(volume, "Available")
            return
        claim = self._claim_of(volume)
        if claim is None:
            if volume.get("status", {}).get("phase") != "Failed":
                self._phase(volume, "Released")
            return
        wanted = claim["spec"].get("volumeName")
        if wanted == volume["metadata"]["name"]:
            if annotation(claim, COMPLETED):
                self._phase(volume, "Bound")
        elif wanted and not claim["metadata"].get("deletionTimestamp"):
            self._unbind(volume)

    def _unbind(self, volume):
        """The claim went to another volume: this one is free again, or reserved as it was."""
        if annotation(volume, "pv.kubernetes.io/provisioned-by") and \
                volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
            self._phase(volume, "Released")
            return

        def alter(new):
            if (new["metadata"].get("annotations") or {}).pop(BY_CONTROLLER, None):
                del new["spec"]["claimRef"]
            else:
                for name in ("uid", "resourceVersion"):
                    new["spec"]["claimRef"].pop(name, None)
        self.objects.change(self.volumes, volume, alter, MANAGER)

    # Claims

    def _bound_claim(self, claim):
        volume = self.store.get(VOLUMES, "", claim["spec"].get("volumeName", ""))
        if volume is None:
            self._lose(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the "
                       "volume is lost!")
        elif not volume["spec"].get("claimRef") or names_claim(volume, claim):
            self._bind(claim, volume)
        else:
            self._lose(claim, "ClaimMisbound", "Two claims are bound to the same volume, this one "
                       "is bound incorrectly")

    def _lose(self, claim, reason, message):
        if claim["status"].get("phase") == "Lost":
            return

        def alter(new):
            new["status"] = {"phase": "Lost"}
        if self.objects.change(self.claims, claim, alter, MANAGER, "status"):
            self.report(claim, "Warning", reason, message)

    def _unbound_claim(self, claim):
        wanted = claim["spec"].get("volumeName")
        if wanted:
            volume = self.store.get(VOLUMES, "", wanted)
            if volume is None:
                return
            ref = volume["spec"].get("claimRef")
            if not ref and not satisfies(volume, claim):
                self.report(claim, "Warning", "VolumeMismatch", f'Cannot bind to requested volume '
                            f'"{wanted}": requested PV is too small, or of another class or mode')
            elif not ref or names_claim(volume, claim):
                self._bind(claim, volume)
            else:
                self.report(claim, "Warning", "FailedBinding",
                            f'volume "{wanted}" already bound to a different claim.')
            return
        volume = self._match(claim)
        if volume is not None:
            self._bind(claim, volume)
        else:
            self._provision(claim)

    def _match(self, claim):
        """A volume reserved for the claim, or else the smallest free one that satisfies it."""
        volumes = [v for v in self.store.items(VOLUMES)
                   if not v["metadata"].get("deletionTimestamp")]
        for volume in volumes:
            if names_claim(volume, claim):
                return volume
        free = [v for v in volumes if not v["spec"].get("claimRef") and satisfies(v, claim)
                and v.get("status", {}).get("phase") == "Available"]
        return min(free, key=lambda v: parse(v["spec"]["capacity"]["storage"]), default=None)

    def _provision(self, claim):
        name = claim["spec"].get("storageClassName")
        found = self.store.get(CLASSES, "", name) if name else None
        if found is None:
            return
        if found.get("volumeBindingMode") == "WaitForFirstConsumer" and not annotation(
                claim, "volume.kubernetes.io/selected-node"):
            self.report(claim, "Normal", "WaitForFirstConsumer",
                        "waiting for first consumer to be created before binding")
            return
        provisioner = found["provisioner"]
        if annotation(claim, PROVISIONER) == provisioner:
            return

        def alter(new):
            _annotate(new, **{PROVISIONER: provisioner, BETA_PROVISIONER: provisioner})
        if self.objects.change(self.claims, claim, alter, MANAGER):
            self.report(claim, "Normal", "ExternalProvisioning", "Waiting for a volume to be created "
                        f"either by the external provisioner '{provisioner}' or manually by the "
                        "system administrator. If volume creation is delayed, please verify that "
                        "the provisioner is running and correctly registered.")

    # Binding: four writes, in the order of the real controller

    def _bind(self, claim, volume):
        meta = claim["metadata"]

        def name_claim(new):
            ref = new["spec"].get("claimRef")
            if ref is None:
                _annotate(new, **{BY_CONTROLLER: "yes"})
            if (ref or {}).get("uid") != meta["uid"]:
                new["spec"]["claimRef"] = {
                    "kind": "PersistentVolumeClaim", "namespace": meta["namespace"],
                    "name": meta["name"], "uid": meta["uid"], "apiVersion": "v1",
                    "resourceVersion": meta["resourceVersion"]}
        volume = self.objects.change(self.volumes, volume, name_claim, MANAGER)
        if volume is None or not names_claim(volume, claim):
            return
        self._phase(volume, "Bound")

        def name_volume(new):
            if not new["spec"].get("volumeName"):
                new["spec"]["volumeName"] = volume["metadata"]["name"]
                _annotate(new, **{BY_CONTROLLER: "yes"})
            _annotate(new, **{COMPLETED: "yes"})
        claim = self.objects.change(self.claims, claim, name_volume, MANAGER)
        if claim is None or claim["status"].get("phase") == "Bound":
            return

        def fill(new):
            new["status"] = {"phase": "Bound", "accessModes": volume["spec"]["accessModes"],
                             "capacity": dict(volume["spec"]["capacity"])}
        self.objects.change(self.claims, claim, fill, MANAGER, "status")


class Reporter:
    """Events of a controller: a repeated one counts up instead of coming again."""

    AGAIN_SECONDS = 15.0  # how often the same thing is said

    def __init__(self, store, registry, objects, component):
        self.store, self.objects, self.component = store, objects, component
        self.res = registry.find("", "v1", "events")
        self._said = {}

    def __call__(self, obj, type_, reason, message):
        meta, clock = obj["metadata"], time.monotonic()
        key = (meta["uid"], reason, message)
        name, last = self._said.get(key, (None, 0.0))
        if name and clock - last < self.AGAIN_SECONDS:
            return
        name = name or f"{meta['name']}.{time.time_ns():x}"
        self._said[key] = (name, clock)
        old = self.store.get(("", "events"), meta["namespace"], name)
        if old:
            def alter(new):
                new["count"] = new.get("count", 1) + 1
                new["lastTimestamp"] = builtin.now()
            self.objects.change(self.res, old, alter, self.component)
            return
        now = builtin.now()
        event = {"kind": "Event", "apiVersion": "v1",
                 "metadata": {"name": name, "namespace": meta["namespace"]},
                 "involvedObject": {"kind": obj["kind"], "namespace": meta["namespace"],
                                    "name": meta["name"], "uid": meta["uid"],
                                    "apiVersion": obj["apiVersion"],
                                    "resourceVersion": meta["resourceVersion"]},
                 "reason": reason, "message": message, "source": {"component": self.component},
                 "firstTimestamp": now, "lastTimestamp": now, "count": 1, "type": type_,
                 "reportingComponent": self.component}
        try:
            self.objects.create(self.res, meta["namespace"], event, Call(MANAGER))
        except ApiError:
            pass  # the namespace goes
