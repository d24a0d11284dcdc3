"""Boots or removes the two clusters of the tests: `clusters.py up|down DIRECTORY`.

`a` is where volumes live, `b` where stores do: it has a pool `tidemark` besides `rbd`.
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../lab"))

import cluster  # noqa: E402


def up(directory):
    for name in ("a", "b"):
        one = cluster.Cluster(os.path.join(directory, name), name)
        one.start(recreate=True)
        pools = one.ceph("osd", "pool", "ls")
        if name == "b" and "tidemark" not in pools:
            one.create_pool("tidemark", app="tidemark")


def down(directory):
    for name in ("a", "b"):
        cluster.Cluster(os.path.join(directory, name), name).destroy()


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("up", "down"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        {"up": up, "down": down}[sys.argv[1]](sys.argv[2])
    except cluster.LabError as error:
        print("clusters: %s" % error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
