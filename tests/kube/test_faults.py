"""Misbehaviour on demand: each way to hurt a client does what README.md says."""

import http.client
import json
import ssl
import threading
import time
import unittest

from harness import Harness, wait_for

MAPS = "/api/v1/namespaces/shop/configmaps"
BROKEN = (http.client.HTTPException, ConnectionError, ssl.SSLError, TimeoutError, OSError)


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class FaultsTest(unittest.TestCase):
    def setUp(self):
        self.kube = Harness("--bookmark-seconds", "0.3")
        self.addCleanup(self.kube.close)
        self.kube.namespace("shop")
        self.admin = self.kube.admin

    def watch(self, query, seconds=10):
        """The lines of a watch, as they come, and its connection."""
        connection = self.admin.connect(seconds)
        connection.request("GET", f"{MAPS}?watch=true&{query}",
                           headers={"Accept": "application/json"})
        return connection.getresponse()

    def version(self):
        return self.admin.get(MAPS).json["metadata"]["resourceVersion"]

    def test_429_comes_as_often_as_asked_for_and_names_a_pause(self):
        self.kube.test("faults", {"status": 429, "retryAfter": 3, "count": 2,
                                  "match": {"resource": "configmaps"}})
        for _ in range(2):
            answer = self.admin.get(MAPS)
            self.assertEqual((answer.code, answer.headers["Retry-After"]), (429, "3"))
        self.assertEqual(self.admin.get(MAPS).code, 200)

    def test_an_answer_of_failure_may_hide_a_write(self):
        for number, done in enumerate((True, False)):
            for code in (500, 503, 504):
                name = f"x-{number}-{code}"
                self.kube.test("faults", {"status": code, "done": done, "count": 1,
                                          "match": {"verb": "create"}})
                self.assertEqual(self.admin.post(MAPS, config_map(name)).code, code)
                self.assertEqual(self.admin.get(f"{MAPS}/{name}").code, 200 if done else 404)

    def test_a_dropped_connection_may_hide_a_write(self):
        for when, code in (("before", 404), ("after", 200)):
            self.kube.test("faults", {"drop": when, "count": 1, "match": {"verb": "create"}})
            with self.assertRaises(BROKEN):
                self.admin.post(MAPS, config_map(when))
            self.assertEqual(self.admin.get(f"{MAPS}/{when}").code, code)

    def test_an_answer_is_cut_in_the_middle(self):
        self.kube.test("faults", {"cutAfterBytes": 600, "count": 1, "match": {"verb": "list"}})
        with self.assertRaises(BROKEN):
            self.admin.get(MAPS)
        self.assertEqual(self.admin.get(MAPS).code, 200)

    def test_one_namespace_is_forbidden(self):
        self.kube.test("faults", {"status": 403, "match": {"namespace": "shop"}})
        answer = self.admin.get(MAPS)
        self.assertEqual((answer.code, answer.json["reason"]), (403, "Forbidden"))
        self.assertIn('cannot list resource "configmaps" in API group "" in the namespace "shop"',
                      answer.json["message"])
        self.assertEqual(self.admin.get("/api/v1/namespaces/default/configmaps").code, 200)
        self.kube.test("faults", method="DELETE")
        self.assertEqual(self.admin.get(MAPS).code, 200)

    def test_a_watch_is_cut_after_so_many_bytes(self):
        since = self.version()
        self.kube.test("watches", {"cutAfterBytes": 700, "cutCount": 1})
        self.admin.post(MAPS, config_map("a", text="x" * 2000))
        stream = self.watch(f"resourceVersion={since}&timeoutSeconds=5")
        with self.assertRaises(BROKEN):
            stream.read()
        stream = self.watch(f"resourceVersion={since}&timeoutSeconds=1")
        self.assertEqual(json.loads(stream.read())["type"], "ADDED")

    def test_running_watches_end_cleanly_or_not(self):
        for clean in (True, False):
            stream = self.watch(f"resourceVersion={self.version()}&timeoutSeconds=30")
            self.kube.test("watches/cut", {"clean": clean})
            if clean:
                self.assertEqual(stream.read(), b"")
            else:
                with self.assertRaises(BROKEN):
                    stream.read()

    def test_events_come_twice_or_late(self):
        since = self.version()
        self.kube.test("watches", {"duplicate": True, "delaySeconds": 0.7})
        stream = self.watch(f"resourceVersion={since}&timeoutSeconds=2")
        self.admin.post(MAPS, config_map("late"))
        begun = time.monotonic()
        first = stream.readline()
        self.assertGreater(time.monotonic() - begun, 0.5)
        self.assertEqual(stream.readline(), first)

    def test_compaction_makes_both_kinds_of_410(self):
        since = self.version()
        self.admin.post(MAPS, config_map("a"))
        self.kube.test("compact")
        event = json.loads(self.watch(f"resourceVersion={since}").read())
        self.assertEqual((event["type"], event["object"]["code"], event["object"]["reason"]),
                         ("ERROR", 410, "Expired"))
        self.kube.test("watches", {"goneAsHttp": True})
        stream = self.watch(f"resourceVersion={since}")
        self.assertEqual((stream.status, json.loads(stream.read())["reason"]), (410, "Expired"))

    def test_bookmarks_move_on_while_nothing_of_the_kind_happens(self):
        stream = self.watch(f"resourceVersion={self.version()}&timeoutSeconds=5"
                            "&allowWatchBookmarks=true")
        before = int(self.version())
        self.kube.namespace("elsewhere")
        wait_for(lambda: self.bookmark(stream) > before, "a newer bookmark")

    @staticmethod
    def bookmark(stream):
        event = json.loads(stream.readline())
        return int(event["object"]["metadata"]["resourceVersion"])

    def test_tokens_end_at_their_time_or_by_hand(self):
        self.kube.make("/api/v1/namespaces/shop/serviceaccounts", {
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "agent"}})
        asked = self.admin.post("/api/v1/namespaces/shop/serviceaccounts/agent/token", {
            "spec": {"expirationSeconds": 600}})
        client = self.kube.as_token(asked.json["status"]["token"])
        self.assertEqual(client.get("/version").code, 200)
        self.kube.test("tokens", {"expire": "*"})
        self.assertEqual(client.get("/version").code, 401)
        self.kube.test("tokens", {"add": {"token": "short", "user": "u",
                                          "expires": time.time() + 0.5}})
        self.assertEqual(self.kube.as_token("short").get("/version").code, 200)
        wait_for(lambda: self.kube.as_token("short").get("/version").code == 401, "it expires")

    def test_all_connections_are_dropped(self):
        stream = self.watch(f"resourceVersion={self.version()}&timeoutSeconds=30")
        self.assertGreaterEqual(self.kube.test("connections/drop")["dropped"], 1)
        with self.assertRaises(BROKEN):
            stream.read()

    def test_silence_lasts_as_long_as_asked_for(self):
        self.kube.test("silence", {"seconds": 1})
        with self.assertRaises(BROKEN):
            self.admin.get(MAPS, timeout=0.4)
        self.assertEqual(self.admin.get(MAPS, timeout=5).code, 200)

    def test_a_store_that_hangs_may_do_the_write_all_the_same(self):
        for done, code in ((False, 404), (True, 200)):
            self.kube.test("store", {"answers": False, "writes": "done" if done else "lost"})
            name = f"hung-{done}".lower()
            answer = self.admin.post(f"{MAPS}?timeout=300ms", config_map(name))
            self.assertEqual(answer.code, 504)
            self.assertNotIn("kind", answer.json)
            self.kube.test("store", {"answers": True})
            self.assertEqual(self.admin.get(f"{MAPS}/{name}").code, code)

    def test_requests_are_counted_by_who_verb_and_resource(self):
        self.kube.test("requests", method="DELETE")
        for _ in range(3):
            self.admin.get(MAPS)
        self.admin.get(f"{MAPS}/none")
        found = self.kube.test("requests", method="GET")["requests"]
        counts = {(r["verb"], r["resource"]): r["count"] for r in found}
        self.assertEqual(counts, {("list", "configmaps"): 3, ("get", "configmaps"): 1})
        self.assertEqual({r["user"] for r in found}, {"kubernetes-admin"})

    def test_only_administrators_hurt_the_server(self):
        self.kube.test("tokens", {"add": {"token": "t", "user": "u"}})
        self.assertEqual(self.kube.as_token("t").post("/_test/compact", {}).code, 403)

    def test_a_mistake_in_a_fault_is_refused(self):
        self.assertEqual(self.admin.post("/_test/faults", {"statsu": 429}).code, 400)
        self.assertEqual(self.admin.post("/_test/watches", {"cut": 1}).code, 400)

    def test_a_delay_holds_up_only_what_matches(self):
        self.kube.test("faults", {"delay": 1.0, "match": {"verb": "list"}, "count": 1})
        done = []
        thread = threading.Thread(target=lambda: done.append(self.admin.get(MAPS).code))
        thread.start()
        begun = time.monotonic()
        self.admin.get("/version")
        self.assertLess(time.monotonic() - begun, 0.9)
        thread.join(5)
        self.assertEqual(done, [200])


if __name__ == "__main__":
    unittest.main(warnings="ignore")
