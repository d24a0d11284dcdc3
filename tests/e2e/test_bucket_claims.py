"""Bucket claims of Kubernetes: protected by name, and given back as claims that an application can use.

Applications are boto3 with what stands in the ConfigMap and the Secret of their claim."""

import base64
import json
import signal

from bucket_support import BucketCase  # finds the next one's folder
import gateway
from claim_support import BUCKET_CLASS, CORE, STORAGE, TIDEMARK, KubeCluster, bucket_claim, bucket_class, storage_class
from claim_support import claim as volume_claim
from support import MIB, Case, main, rounds

PHOTOS = "k8s/shop/obc/photos"
FINALIZER = "objectbucket.io/finalizer"


def pod(name, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "app", **spec}]},
            "status": {"phase": "Running"}}


class BucketClaimCase(BucketCase):
    wait_for, end_of_log = Case.wait_for, staticmethod(Case.end_of_log)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # An agent reads what belongs to others; to write it, it needs the claim's own keys.
        for name, cluster in cls.clusters.items():
            cls.users[name] = gateway.user_with_caps(cluster, "tidemark-claims")
            cls.s3[name] = gateway.client(cluster.create_s3_user("reader"))
            cluster.radosgw_admin("user", "modify", "--uid", "reader", "--admin")
        cls.clusters["a"].radosgw_admin("user", "modify", "--uid", "tidemark-claims", "--admin")

    def setUp(self):
        super().setUp()
        self.tokyo, self.osaka = self.pair.tokyo, self.pair.osaka
        self.kube = {}
        for name, site in (("a", self.tokyo), ("b", self.osaka)):
            self.addCleanup(self.clean_up, name)
            self.kube[name] = KubeCluster(self, self.clusters[name].conf, gateway=self.users[name]["endpoint"])
            self.addCleanup(self.kube[name].close)
            self.kube[name].as_agent("restore" if name == "b" else "secrets")
            site.write_config(site.config_text() + f"kubernetes: {{ kubeconfig: {self.kube[name].kubeconfig} }}\n")
        self.tokyo.edit_config('"s3/*"', '"s3/none-*"')
        self.tokyo.edit_config("policies:\n", "policies:\n  claims: { claims: { namespaces: [ shop ], buckets: true }, to: osaka }\n")

    def clean_up(self, name):
        """What claims left in the cluster."""
        admin = self.clusters[name].radosgw_admin
        for bucket in admin("bucket", "list"):
            admin("bucket", "rm", "--bucket", bucket, "--purge-objects", json=False)
        for user in admin("user", "list"):
            if user.startswith("obc-"):
                admin("user", "rm", "--uid", user, json=False)

    def photos(self, versions=True):
        """A claim at tokyo, and in its bucket all that a bucket can have; what it holds."""
        here = self.kube["a"]
        here.make_bucket_claim(bucket_claim("photos", annotations={"team": "pictures"},
                                            additionalConfig={"maxObjects": "100000"}))
        bucket, login = here.login("photos")
        app, owner = gateway.client(login), self.owner("a", bucket)
        if versions:
            app.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for number in range(8):
            app.put_object(Bucket=bucket, Key=f"many/{number}", Body=self.random.randbytes(self.random.randrange(1, 20000)),
                           ContentType="image/odd", Metadata={"number": str(number)}, Tagging="colour=blue")
        app.put_object(Bucket=bucket, Key="public", Body=b"for all", ACL="public-read")
        app.put_object(Bucket=bucket, Key="large", Body=self.random.randbytes(6 * MIB + 17))
        app.put_object(Bucket=bucket, Key="public", Body=b"for all, again", ACL="public-read")
        app.delete_object(Bucket=bucket, Key="many/0")
        app.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "x"}]})
        app.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Sid": "mine", "Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{owner}"]},
             "Action": ["s3:*"], "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]},
            {"Sid": "nobody", "Effect": "Deny", "Principal": {"AWS": ["arn:aws:iam:::user/else"]},
             "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]}]}))
        return bucket, gateway.content(app, bucket), self.versions("a", bucket)

    def owner(self, name, bucket):
        return self.clusters[name].radosgw_admin("bucket", "stats", "--bucket", bucket)["owner"]

    def buckets(self, name="b"):
        return sorted(self.clusters[name].radosgw_admin("bucket", "list"))

    def back_up(self):
        return self.tokyo.json("backup", PHOTOS)["points"][0]

    def restore(self, *args, to="shop/photos", code=0):
        done = self.osaka.run("--json", "restore", "tokyo:" + PHOTOS, "--to-obc", to, *args, code=None)
        self.assertEqual(done.returncode, code, done.errors)
        return json.loads(done.text) if code == 0 else done.errors

    def assert_usable(self, state, name="photos", ns="shop"):
        """The claim is whole, and an application finds `state` by it."""
        there = self.kube["b"]
        claim = there.get(there.buckets_path(name, ns))
        uid, bucket = claim["metadata"]["uid"], there.object_bucket(name, ns)
        self.assertEqual((claim["status"]["phase"], bucket["status"]["phase"]), ("Bound", "Bound"))
        self.assertEqual(claim["spec"]["objectBucketName"], bucket["metadata"]["name"])
        self.assertEqual(bucket["spec"]["claimRef"]["uid"], uid)
        for part in there.connection(name, ns):
            self.assertEqual([one["uid"] for one in part["metadata"]["ownerReferences"]], [uid])
            self.assertEqual(part["metadata"]["finalizers"], [FINALIZER])
        for one in (claim, bucket):
            self.assertEqual(one["metadata"]["finalizers"], [FINALIZER])
            self.assertEqual(one["metadata"]["labels"]["bucket-provisioner"], "rook-ceph.ceph.rook.io-bucket")
        found, login = there.login(name, ns)
        self.assertEqual((claim["spec"]["bucketName"], bucket["spec"]["endpoint"]["bucketName"]), (found, found))
        self.assertEqual(gateway.content(gateway.client(login), found), state)
        return found, login

    def assert_only(self, *names):
        """Nothing of a filling claim is left at osaka."""
        there = self.kube["b"]
        self.assertEqual(there.bucket_claim_names(), sorted(names))
        self.assertEqual(sorted(one["metadata"]["name"] for one in there.get(
            "/apis/objectbucket.io/v1alpha1/objectbuckets")["items"]), sorted(f"obc-shop-{one}" for one in names))
        self.wait_for("the garbage collector", lambda: all(
            one["metadata"]["name"] in names or one["metadata"]["name"] == "kube-root-ca.crt"
            for kind in ("configmaps", "secrets") for one in there.get(f"{CORE}/namespaces/shop/{kind}")["items"]))


class BucketClaims(BucketClaimCase):
    def test_a_bucket_claim_that_is_gone_comes_back_at_the_other_site(self):
        here, there = self.kube["a"], self.kube["b"]
        bucket, state, versions = self.photos()
        self.assertEqual(self.back_up()["labels"]["kubernetes.claim"], PHOTOS)
        _, old = here.login("photos")
        here.remove_bucket_claim("photos")
        self.assertNotIn(bucket, self.buckets("a"))
        self.assertIn("nothing refuses", self.osaka.run("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos", "--plan").text)
        self.assertEqual(there.bucket_claim_names(), [])
        done = self.restore()
        self.assertEqual((done["bucket"], done["put_aside"], done["old_keys"], done["problems"]), (bucket, None, False, []))
        found, login = self.assert_usable(state)
        self.assertEqual(self.versions("b", found), versions)
        self.assert_only("photos")
        claim = there.get(there.buckets_path("photos"))
        self.assertEqual(claim["metadata"]["annotations"]["team"], "pictures")
        self.assertEqual(claim["spec"]["additionalConfig"], {"maxObjects": "100000"})
        # The bucket is the application's: its user owns it, and what named the old one names that.
        app, owner = gateway.client(login), self.owner("b", found)
        self.assertEqual(there.object_bucket("photos")["spec"]["additionalState"]["cephUser"], owner)
        policy = json.loads(app.get_bucket_policy(Bucket=found)["Policy"])["Statement"]
        self.assertEqual([one["Principal"]["AWS"] for one in policy],
                         [[f"arn:aws:iam:::user/{owner}"], ["arn:aws:iam:::user/else"]])
        acl = app.get_object_acl(Bucket=found, Key="public")
        self.assertEqual(acl["Owner"]["ID"], owner)
        self.assertIn("http://acs.amazonaws.com/groups/global/AllUsers", [one["Grantee"].get("URI") for one in acl["Grants"]])
        self.assertEqual(app.get_bucket_tagging(Bucket=found)["TagSet"], [{"Key": "team", "Value": "x"}])
        app.put_object(Bucket=found, Key="new", Body=b"x")
        self.assertNotEqual(login["access_key"], old["access_key"])
        # Given again, it is done already; and the claim is one as any other: its bucket goes with it.
        self.assertTrue(self.restore()["resumed"])
        there.remove_bucket_claim("photos")
        self.assertNotIn(found, self.buckets())

    def test_the_keys_of_the_application_go_on_working_where_users_may_be_written(self):
        _, state, _ = self.photos(versions=False)
        self.back_up()
        _, old = self.kube["a"].login("photos")
        self.clusters["b"].radosgw_admin("caps", "add", "--uid", "tidemark-claims", "--caps", "users=write")
        self.addCleanup(self.clusters["b"].radosgw_admin, "caps", "rm", "--uid", "tidemark-claims", "--caps", "users=write")
        self.assertTrue(self.restore()["old_keys"])
        _, login = self.assert_usable(state)
        self.assertEqual((login["access_key"], login["secret_key"]), (old["access_key"], old["secret_key"]))
        # A second one beside it gets keys of its own, and says why.
        text = self.osaka.run("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/copy").text
        self.assertIn("the application has new keys: user obc-shop-tidemark-restore-", text)
        found, other = self.assert_usable(state, "copy")
        self.assertNotEqual(other["access_key"], login["access_key"])
        self.assertEqual(len(self.buckets()), 2, "the name of the first was taken: another one was made")
        self.assertTrue(found.startswith("photos-"))

    def test_a_namespace_comes_back_with_its_volumes_and_its_buckets(self):
        _, state, _ = self.photos()
        self.kube["a"].make_claim(volume_claim("albums", size="8Mi"))
        self.tokyo.run("backup", "--policy", "claims")
        there = self.kube["b"]
        there.api.make(f"{STORAGE}/storageclasses", bucket_class("pictures"))
        done = self.osaka.run("--json", "restore", "tokyo:k8s/shop", "--to-namespace", "shop", "--static",
                              "--storage-class", f"{BUCKET_CLASS}=pictures")
        claims = json.loads(done.text)["claims"]
        self.assertEqual([one["target"] for one in claims], ["k8s/shop/pvc/albums", PHOTOS])
        there.bound("albums")
        self.assert_usable(state)
        self.assertEqual(there.get(there.buckets_path("photos"))["spec"]["storageClassName"], "pictures")

    def test_a_kill_before_any_write_to_the_api(self):
        _, state, _ = self.photos()
        self.back_up()
        there = self.kube["b"]
        command = self.osaka.command("--json", "--quiet", "restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos")
        before = there.writes()
        self.restore()
        total = there.writes() - before
        self.assertGreaterEqual(total, 14)
        for number in sorted(self.random.sample(range(total), min(rounds(5), total))):
            with self.subTest(f"killed before write {number} of {total}"):
                there.remove_bucket_claim("photos")
                self.assertEqual(self.buckets(), [])
                self.assertEqual(there.killed_at(command, number).returncode, -signal.SIGKILL)
                self.assertTrue(self.restore()["resumed"] or number == 0)
                self.assert_usable(state)
                self.assert_only("photos")
                self.assertEqual(len(self.buckets()), 1)

    def test_at_each_write_one_claim_at_most_has_the_bucket_and_none_looks_bound_too_early(self):
        _, state, _ = self.photos()
        self.back_up()
        there, seen = self.kube["b"], set()

        def takes_along(name):
            claim = there.get(there.buckets_path(name))
            return bool(claim and there.object_bucket(name) and FINALIZER in claim["metadata"].get("finalizers", []))

        def look(_number, _process):
            claim = there.get(there.buckets_path("photos"))
            filling = [one for one in there.bucket_claim_names() if one != "photos"]
            armed = [one for one in filling + ["photos"] if takes_along(one)]
            seen.add(tuple(one == "photos" for one in armed))
            if len(armed) > 1:
                seen.add("two claims take the bucket along")
            if claim and (claim.get("status") or {}).get("phase") == "Bound":
                seen.add("bound")
                if None in there.connection("photos") or not there.object_bucket("photos"):
                    seen.add("bound without its parts")
            elif any(there.connection("photos")) and not all(
                    one["metadata"]["annotations"].get("tidemark.dev/filled") for one in
                    map(there.get, map(there.buckets_path, filling))):
                seen.add("found before it was filled")
            return False
        there.run_watched(self.osaka.command("--quiet", "restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos"), look)
        self.assert_usable(state)
        # In its order: the filling claim's, nobody's, the claim's own; and what must not be is not.
        self.assertEqual(seen, {(), (False,), (True,), "bound"})

    def test_a_filling_claim_that_somebody_took_away_is_begun_anew(self):
        _, state, _ = self.photos()
        self.back_up()
        there, name = self.kube["b"], []

        def disarmed(_number, process):
            """When it has lost its finalizer: then its deletion leaves everything else behind."""
            claims = there.bucket_claim_names()
            filling = next((one for one in claims if one != "photos"), None)
            if name or "photos" not in claims or "finalizers" in there.get(there.buckets_path(filling))["metadata"]:
                return False
            name.append(filling)
            process.kill()
            process.wait()
            return True
        there.run_watched(self.osaka.command("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos"), disarmed)
        left = there.object_bucket(name[0])["spec"]["endpoint"]["bucketName"]
        there.remove_bucket_claim(name[0])
        there.remove_bucket_claim("photos")
        self.assertTrue(there.object_bucket(name[0]))
        self.restore()
        found, _ = self.assert_usable(state)
        self.assertNotEqual(found, left)
        self.assert_only("photos")

    def test_what_is_in_the_way_is_named_and_put_aside_only_by_force(self):
        _, state, _ = self.photos()
        self.back_up()
        there = self.kube["b"]
        there.api.make(f"{STORAGE}/storageclasses", bucket_class("retain", reclaimPolicy="Retain"))
        there.make_bucket_claim(bucket_claim("photos", storage_class_name="retain"))
        old, login = there.login("photos")
        app = gateway.client(login)
        app.put_object(Bucket=old, Key="precious", Body=b"precious")
        pods = f"{CORE}/namespaces/shop/pods"
        there.api.make(pods, pod("app-0", envFrom=[{"secretRef": {"name": "photos"}}]))
        there.api.make(pods, pod("app-1", env=[{"name": "B", "valueFrom": {
            "configMapKeyRef": {"name": "photos", "key": "BUCKET_NAME"}}}]))
        there.api.make(pods, pod("other", envFrom=[{"secretRef": {"name": "other"}}]))
        self.assertIn("pods use it: app-0, app-1", self.restore(code=5))
        self.assertIn("used by pods: app-0, app-1", self.restore("--force", code=5))
        for name in ("app-0", "app-1"):
            there.api.admin.delete(f"{pods}/{name}")
        self.restore(code=5)
        self.assertEqual(there.bucket_claim_names(), ["photos"])
        done = self.restore("--force")
        self.assertEqual(done["put_aside"], old)
        self.assertNotEqual(done["bucket"], old)
        self.assert_usable(state)
        self.assert_only("photos")
        self.assertEqual(app.get_object(Bucket=old, Key="precious")["Body"].read(), b"precious")
        self.assertEqual(self.buckets(), sorted([old, done["bucket"]]))

    def test_a_kill_while_a_claim_is_put_aside_loses_neither_bucket(self):
        _, state, _ = self.photos()
        self.back_up()
        there = self.kube["b"]
        command = self.osaka.command("--quiet", "restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos", "--force")
        for number in sorted(self.random.sample(range(2, 9), rounds(2))):
            with self.subTest(f"killed before write {number}"):
                there.make_bucket_claim(bucket_claim("photos"))
                old, login = there.login("photos")
                gateway.client(login).put_object(Bucket=old, Key="precious", Body=b"precious")
                self.assertEqual(there.killed_at(command, number).returncode, -signal.SIGKILL)
                self.restore("--force")
                self.assert_usable(state)
                self.assert_only("photos")
                self.assertEqual(gateway.client(login).get_object(Bucket=old, Key="precious")["Body"].read(), b"precious")
                there.remove_bucket_claim("photos")
                self.assertEqual(self.buckets(), [old])
                self.clean_up("b")

    def test_classes_and_names_that_do_not_fit_are_refused_and_nothing_is_made(self):
        bucket, state, _ = self.photos()
        self.back_up()
        there = self.kube["b"]
        classes = f"{STORAGE}/storageclasses"
        there.api.make(classes, bucket_class("shared", parameters={"bucketName": "everybodys"}))
        there.api.make(classes, storage_class("blocks"))
        self.assertIn("no storage class elsewhere", self.restore("--storage-class", "elsewhere", code=4))
        self.assertIn("not of Rook's bucket provisioner", self.restore("--storage-class", "blocks", code=1))
        self.assertIn("gives access to bucket everybodys", self.restore("--storage-class", "shared", code=1))
        self.assertIn("no namespace nowhere", self.restore(to="nowhere/photos", code=4))
        gateway.client(self.users["b"]).create_bucket(Bucket="taken")
        self.assertIn("bucket taken is there", self.restore("--bucket", "taken", code=5))
        self.assertIn("--size goes with --to-pvc", self.restore("--size", "1Gi", code=2))
        self.assertIn("a bucket's point goes to", self.osaka.run(
            "restore", "tokyo:" + PHOTOS, "--to-pvc", "shop/photos", code=2).errors)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "photos"}, "stringData": {"mine": "x"}}
        there.api.make(f"{CORE}/namespaces/shop/secrets", secret)
        self.assertIn("Secret shop/photos is there", self.restore("--force", code=5))
        self.assertEqual(there.bucket_claim_names(), [])
        there.api.make(classes, bucket_class("kept", reclaimPolicy="Retain"))
        there.api.namespace("gallery")
        self.restore("--storage-class", "kept", "--bucket", "mine", to="gallery/pictures")
        found, login = self.assert_usable(state, "pictures", "gallery")
        self.assertEqual(found, "mine")
        policy = json.loads(gateway.client(login).get_bucket_policy(Bucket=found)["Policy"])["Statement"]
        self.assertEqual(policy[0]["Resource"], ["arn:aws:s3:::mine", "arn:aws:s3:::mine/*"])
        self.assertEqual(there.object_bucket("pictures", "gallery")["spec"]["reclaimPolicy"], "Retain")
        self.assertNotIn(bucket, self.buckets())

    def test_two_restores_to_one_claim_meet(self):
        _, early, _ = self.photos()
        first = self.back_up()
        bucket, login = self.kube["a"].login("photos")
        gateway.client(login).put_object(Bucket=bucket, Key="later", Body=b"later")
        self.back_up()
        there = self.kube["b"]
        command = self.osaka.command("restore", "tokyo:" + PHOTOS, "--point", first["id"], "--to-obc", "shop/photos")
        there.killed_at(command, 2)
        self.assertIn(f"a restore of point {first['id'][:12]}", self.restore(code=5))
        self.assertIn("is under way", self.restore("--force", code=5))
        self.assertTrue(self.restore("--point", first["id"])["resumed"])
        self.assert_usable(early)

    def test_a_claim_that_appears_while_the_bucket_is_filled_is_left_alone(self):
        _, state, _ = self.photos()
        self.back_up()
        there, made = self.kube["b"], []

        def appear(number, _process):
            if number == 1 and not made:  # when the filling claim is marked as filled
                made.append("photos")
                there.make_bucket_claim(bucket_claim("photos"))
            return False
        command = self.osaka.command("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos")
        self.assertEqual(there.run_watched(command, appear).returncode, 5)
        mine, login = there.login("photos")
        self.assertEqual(gateway.content(gateway.client(login), mine), {})
        self.assertIn("k8s/shop/obc/photos is there", self.restore(code=5))
        there.remove_bucket_claim("photos")
        self.assertTrue(self.restore()["resumed"])
        self.assert_usable(state)
        self.assert_only("photos")

    def test_an_object_restores_as_the_command_does(self):
        bucket, state, _ = self.photos()
        point = self.back_up()
        there = self.kube["b"]
        there.install_crds()
        self.osaka.edit_config("kubernetes: { kubeconfig:", "kubernetes: { custom_resources: true, kubeconfig:")
        self.osaka.stop_agent()
        self.osaka.start_agent()

        def order(name, ns="shop", **spec):
            path = f"{TIDEMARK}/namespaces/{ns}/restores"
            there.api.make(path, {"apiVersion": "tidemark.dev/v1alpha1", "kind": "Restore", "metadata": {"name": name}, "spec": spec})

            def ended():
                found = there.get(f"{path}/{name}")
                return found["status"] if (found.get("status") or {}).get("phase") in ("Succeeded", "Failed") else None
            return self.wait_for(f"restore {name}", ended)
        claim = {"kind": "ObjectBucketClaim", "name": "photos"}
        done = order("back", claim=claim, target={"name": "photos"})
        self.assertEqual((done["phase"], done.get("bucketName")), ("Succeeded", bucket), done)
        self.assertNotIn("volumeName", done)
        self.assert_usable(state)
        self.assert_only("photos")
        by_point = order("by-point", point=point["id"], target={"name": "copy", "bucketName": "copied"})
        self.assertEqual((by_point["phase"], by_point["bucketName"]), ("Succeeded", "copied"), by_point)
        self.assert_usable(state, "copy")
        for number, (spec, reason, text) in enumerate((
                ({"claim": claim, "target": {"name": "x", "kind": "PersistentVolumeClaim"}}, "Invalid", "ObjectBucketClaim"),
                ({"claim": claim, "target": {"name": "x", "size": "1Gi"}}, "Invalid", "are of volumes"),
                ({"claim": claim, "target": {"name": "x", "storageClassName": "rook-ceph-block"}}, "Unsupported", "Rook"))):
            failed = order(f"wrong-{number}", **spec)
            ready = failed["conditions"][0]
            self.assertEqual((failed["phase"], ready["reason"]), ("Failed", reason))
            self.assertIn(text, ready["message"])
        there.api.namespace("elsewhere")
        theft = order("theft", "elsewhere", claim={**claim, "namespace": "shop"}, target={"name": "mine"})
        self.assertEqual(theft["phase"], "Failed")
        self.assertEqual(there.bucket_claim_names("elsewhere"), [])


class PlainStore(BucketClaimCase):
    """A store without encryption: the points have no Secret; and a site that has no gateway of its own."""

    pair_options = {"encrypted": False}

    def test_without_the_secret_and_without_a_gateway_of_the_site_the_claim_has_new_keys(self):
        bucket, state, _ = self.photos(versions=False)
        self.back_up()
        self.osaka.write_config("".join(line for line in self.osaka.config_text().splitlines(True) if not line.startswith("s3:")))
        text = self.osaka.run("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos").text
        self.assertIn("the application has new keys: the point does not have them", text)
        found, _ = self.assert_usable(state)
        self.assertNotEqual(found, bucket, "whether the name is free could not be known")

    def test_what_an_application_cannot_read_is_an_error_that_says_so(self):
        self.photos(versions=False)
        self.back_up()
        there = self.kube["b"]
        seen = []

        def spoil(_number, _process):
            """Takes the keys away once they stand in the Secret."""
            secret = there.connection("photos")[1]
            if secret and not seen:
                seen.append(secret)
                wrong = base64.b64encode(b"wrong").decode()
                there.api.admin.patch(f"{CORE}/namespaces/shop/secrets/photos", {"data": {"AWS_SECRET_ACCESS_KEY": wrong}})
            return False
        process = there.run_watched(self.osaka.command("restore", "tokyo:" + PHOTOS, "--to-obc", "shop/photos"), spoil)
        self.assertTrue(seen)
        self.assertNotEqual(process.returncode, 0)
        self.assertNotEqual(there.get(there.buckets_path("photos")).get("status", {}).get("phase"), "Bound")
        failed = self.restore(code=5)
        self.assertIn("with the keys of Secret shop/photos: list it", failed)


if __name__ == "__main__":
    main()
