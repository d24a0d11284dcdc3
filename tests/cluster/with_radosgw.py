"""Runs a program with the radosgw of a lab cluster: `with_radosgw.py DIRECTORY PROGRAM [ARGUMENT...]`.

The cluster must run already; it gets a radosgw if it has none, which stays. TM_S3_ENDPOINT,
TM_S3_ACCESS_KEY and TM_S3_SECRET_KEY name it, with a user that may use its administration.
"""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../lab"))

import cluster  # noqa: E402


def main():
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        one = cluster.Cluster(sys.argv[1]).start(rgw=True)
        user = one.create_s3_user("tidemark-test")
        one.radosgw_admin("caps", "add", "--uid", user["uid"],
                          "--caps", "buckets=*;metadata=*;bilog=*;users=read")
    except cluster.LabError as error:
        print("with_radosgw: %s" % error, file=sys.stderr)
        return 1
    os.environ.update(TM_S3_REQUIRED="1", TM_S3_ENDPOINT=user["endpoint"],
                      TM_S3_ACCESS_KEY=user["access_key"], TM_S3_SECRET_KEY=user["secret_key"])
    os.execv(sys.argv[2], sys.argv[2:])


sys.exit(main())
