"""Tidemark beside others, on the same data in the same run: volumes beside rbd export-diff, restic and
borg, buckets beside rclone, a point that is served beside its restore, a standby beside rbd-mirror; and claims of
a large cluster. Every round measures each contender once, in another order; the table shows medians."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../lab")]

import botocore.exceptions  # noqa: E402
import buckets  # noqa: E402
import claims  # noqa: E402
import gateway  # noqa: E402
import rados  # noqa: E402
import rbd  # noqa: E402
import serve  # noqa: E402
import standby  # noqa: E402
import volumes  # noqa: E402
from cluster import LabError  # noqa: E402
from measure import Failed, Figures, Table  # noqa: E402
from site_pair import CommandFailed  # noqa: E402

BENCHES = {"volumes": volumes.Volumes, "buckets": buckets.Buckets, "serve": serve.Serve,
           "standby": standby.Standby, "claims": claims.Claims}
ERRORS = (Failed, CommandFailed, LabError, gateway.Wrong, subprocess.CalledProcessError, rbd.Error, rados.Error,
          botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)


def machine():
    with open("/proc/cpuinfo") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"cpus": os.cpu_count(), "model": models[0] if models else "unknown",
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "load": os.getloadavg()}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="|".join(BENCHES),
                        help="all without a word")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", metavar="PATH", help="where all raw numbers go")
    parser.add_argument("--threads", action="store_true", help="print CPU time by thread")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--objectstore", choices=("memstore", "bluestore"), default="bluestore")
    parser.add_argument("--osd-bytes", help="default: the lab's")
    parser.add_argument("--dir", help="where to work, instead of the system's temporary directory")
    of_volumes = parser.add_argument_group("volumes")
    of_volumes.add_argument("--large", action="store_true", help="also a 1 TiB image with 100,000 objects")
    of_volumes.add_argument("--tree-mib", type=int, default=volumes.TREE_BYTES // volumes.MIB,
                            help="how much real data")
    of_buckets = parser.add_argument_group("buckets")
    of_buckets.add_argument("--small", type=int, default=20_000, help="how many objects of 1 to 64 KiB")
    of_buckets.add_argument("--large-objects", type=int, default=20, help="how many large ones")
    of_buckets.add_argument("--large-mib", type=int, default=256, help="their size")
    parser.add_argument("--claims", type=int, default=5_000, help="of claims: how many")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    options.what = options.what or list(BENCHES)
    if unknown := set(options.what) - set(BENCHES):
        parser.error(f"there are {' and '.join(BENCHES)}, not {', '.join(sorted(unknown))}")
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    return options


def run(bench, directory):
    """The exit code; everything it made is gone afterwards."""
    code = 0
    try:
        bench.run()
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        code = 130
    except ERRORS as error:
        print(f"bench: {error}", file=sys.stderr)
        code = 1
    finally:
        # A second interruption must not leave clusters behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        bench.close()
        shutil.rmtree(directory, ignore_errors=True)
        signal.signal(signal.SIGINT, before)
    return code


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that clean-ups are reached
    figures, table, code = Figures(), Table(), 0
    try:
        for what in options.what:
            directory = tempfile.mkdtemp(prefix="tidemark-bench-", dir=options.dir)
            bench = BENCHES[what](options, directory, figures)
            try:
                code = run(bench, directory) or code
            finally:
                bench.add_rows(table)
            if code == 130:
                break
    finally:
        if options.json:
            with open(options.json, "w") as f:
                json.dump({"machine": machine(), "rounds": options.rounds, "seed": options.seed,
                           "objectstore": options.objectstore, "table": table.rows,
                           "raw": figures.raw}, f, indent=1)
        print(table.text(), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
