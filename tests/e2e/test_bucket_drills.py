"""Drills of buckets, between two real gateways."""

import os

from bucket_support import BucketCase  # finds the next one's folder
from drill_support import DrillPlans
from support import main


class BucketDrills(DrillPlans, BucketCase):
    def setUp(self):
        super().setUp()
        self.find_drills()

    def test_a_bucket_is_brought_back_compared_and_removed(self):
        s3 = self.s3["a"]
        s3.create_bucket(Bucket="photos")
        for number in range(120):
            s3.put_object(Bucket="photos", Key=f"{number % 7}/k {number:03}", Body=self.random.randbytes(number * 300),
                          Metadata={"n": str(number)}, Tagging="a=b")
        self.pair.tokyo.run("backup", "s3/photos")
        probe = "test -n \"$TIDEMARK_BUCKET\" && echo \"$TIDEMARK_BUCKET\""
        self.plan("b", assets="tokyo:s3/photos", checks={"sample": 20, "command": ["/bin/sh", "-c", probe]})
        report = self.drill("b")
        checks = {c["name"]: (c["result"], c["bytes"]) for c in report["assets"][0]["checks"]}
        self.assertEqual({n: r for n, (r, _) in checks.items()},
                         {"content": "passed", "sample": "passed", "command": "passed"}, report)
        self.assertEqual(checks["content"][1], sum(n * 300 for n in range(120)))
        self.plan("f", assets="tokyo:s3/photos", method="file")
        self.assertEqual(self.drill("f")["result"], "passed")
        names = [b["Name"] for b in self.s3["b"].list_buckets()["Buckets"]]
        self.assertEqual([n for n in names if "tidemark-drill" in n], [])
        self.assertEqual(os.listdir(self.scratch), [])


if __name__ == "__main__":
    main()
