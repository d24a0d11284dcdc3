"""/readyz and its kin, and /version."""

VERSION = {"major": "1", "minor": "32", "gitVersion": "v1.32.0", "gitTreeState": "clean",
           "gitCommit": "", "buildDate": "2024-12-11T18:05:36Z", "goVersion": "go1.23.3",
           "compiler": "gc", "platform": "linux/amd64"}
# The checks that /readyz?verbose lists, and whether they pass while the server still starts.
CHECKS = [("ping", True), ("log", True), ("informer-sync", False),
          ("poststarthook/start-apiserver-admission-initializer", True),
          ("poststarthook/generic-apiserver-start-informers", True),
          ("poststarthook/priority-and-fairness-config-consumer", True),
          ("poststarthook/priority-and-fairness-filter", True),
          ("poststarthook/storage-object-count-tracker-hook", True),
          ("poststarthook/start-apiextensions-informers", True),
          ("poststarthook/start-apiextensions-controllers", False),
          ("poststarthook/crd-informer-synced", False),
          ("poststarthook/start-system-namespaces-controller", True),
          ("poststarthook/start-cluster-authentication-info-controller", True),
          ("poststarthook/start-kube-apiserver-identity-lease-controller", True),
          ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", True),
          ("poststarthook/start-legacy-token-tracking-controller", True),
          ("poststarthook/start-service-ip-repair-controllers", False),
          ("poststarthook/rbac/bootstrap-roles", False),
          ("poststarthook/scheduling/bootstrap-system-priority-classes", False),
          ("poststarthook/priority-and-fairness-config-producer", False),
          ("poststarthook/bootstrap-controller", False),
          ("poststarthook/start-kube-aggregator-informers", True),
          ("poststarthook/apiservice-status-local-available-controller", True),
          ("poststarthook/apiservice-status-remote-available-controller", True),
          ("poststarthook/apiservice-registration-controller", False),
          ("poststarthook/apiservice-wait-for-first-sync", True),
          ("poststarthook/apiservice-discovery-controller", False),
          ("poststarthook/kube-apiserver-autoregistration", True),
          ("autoregister-completion", False),
          ("poststarthook/apiservice-openapi-controller", True),
          ("poststarthook/apiservice-openapiv3-controller", True), ("shutdown", True)]


def answer(connection, request, faults):
    name = request.path.strip("/").split("/")[0]
    failed = set()
    if not faults.ready:
        failed |= {check for check, early in CHECKS if not early}
    if faults.shutting_down:
        failed.add("shutdown")
    lines = [f"[-]{check} failed: reason withheld" if check in failed else f"[+]{check} ok"
             for check, _ in CHECKS]
    lines.append(f"{name} check {'failed' if failed else 'passed'}")
    text = "\n".join(lines) + "\n" if failed or "verbose" in request.query else "ok"
    connection.answer(500 if failed else 200, request, text.encode(), "text/plain; charset=utf-8",
                      {"X-Content-Type-Options": "nosniff"})
