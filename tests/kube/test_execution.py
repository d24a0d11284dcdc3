"""exec over WebSocket: commands really run, and everything they say comes back."""

import os
import tempfile
import time
import unittest

import websocket
from harness import Harness, wait_for
from wire import Gone
from ws_client import Exec

SUCCESS = {"metadata": {}, "status": "Success"}


def pod(name, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "nodeName": "n1", "containers": [{"name": "db", "image": "x"}], **spec}}


class ExecutionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.TemporaryDirectory()
        cls.kube = Harness("--exec-root", cls.root.name)
        cls.kube.namespace("shop")
        cls.kube.make("/api/v1/namespaces/shop/pods", pod("db-0"))

    @classmethod
    def tearDownClass(cls):
        cls.kube.close()
        cls.root.cleanup()

    def exec(self, *command, **more):
        more.setdefault("stdout", True)
        more.setdefault("stderr", True)
        return Exec(self.kube.admin, "shop", "db-0", command, **more)

    def test_output_and_success(self):
        stream = self.exec("sh", "-c", "echo out; echo err >&2")
        self.assertEqual(stream.rest(), (b"out\n", b"err\n", SUCCESS))
        self.assertEqual((stream.messages[0], stream.closed), ((1, b""), 1000))

    def test_the_exit_code_is_in_the_status(self):
        status = self.exec("sh", "-c", "exit 7").rest()[2]
        self.assertEqual(status["reason"], "NonZeroExitCode")
        self.assertEqual(status["details"]["causes"], [{"reason": "ExitCode", "message": "7"}])

    def test_a_command_that_is_not_there_fails_with_127(self):
        status = self.exec("no-such-command").rest()[2]
        self.assertEqual(status["details"]["causes"][0]["message"], "127")

    def test_v5_closes_stdin_and_reads_on(self):
        stream = self.exec("cat", stdin=True)
        stream.send(0, b"one ")
        stream.send(0, b"two")
        stream.close_stdin()
        self.assertEqual(stream.rest(), (b"one two", b"", SUCCESS))

    def test_v4_reads_what_the_command_asks_for(self):
        stream = self.exec("head", "-c", "3", stdin=True, protocol="v4.channel.k8s.io")
        self.assertEqual(stream.headers["sec-websocket-protocol"], "v4.channel.k8s.io")
        stream.send(0, b"abcdef")
        self.assertEqual(stream.rest(), (b"abc", b"", SUCCESS))

    def test_v4_does_not_know_the_close_channel(self):
        stream = self.exec("head", "-c", "3", stdin=True, protocol="v4.channel.k8s.io")
        stream.close_stdin()
        stream.send(0, b"abc")
        self.assertEqual(stream.rest()[0], b"abc")

    def test_many_bytes_pass_both_ways_at_once(self):
        data = os.urandom(300000) * 4
        stream = self.exec("cat", stdin=True)
        for begin in range(0, len(data), 30000):
            stream.send(0, data[begin:begin + 30000])
        stream.close_stdin()
        self.assertEqual(stream.rest()[0], data)

    def test_a_message_may_come_in_parts(self):
        stream = self.exec("cat", stdin=True)
        stream.frame(websocket.BINARY, b"\0ab", final=False)
        stream.frame(websocket.CONTINUATION, b"cd")
        stream.close_stdin()
        self.assertEqual(stream.rest()[0], b"abcd")

    def test_a_ping_is_answered_while_the_command_runs(self):
        stream = self.exec("cat", stdin=True)
        stream.frame(websocket.PING, b"there?")
        stream.close_stdin()
        stream.rest()
        self.assertEqual(stream.pongs, [b"there?"])

    def test_the_command_ends_with_its_connection(self):
        stream = self.exec("sh", "-c", "echo $$; exec sleep 600")
        while not stream.messages or not stream.messages[-1][1]:
            stream.messages.append(tuple([(d := stream.next()[1])[0], d[1:]]))
        process = int(stream.messages[-1][1])
        stream.sock.close()
        wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the command is gone")

    def test_commands_run_in_the_directory_of_the_pod(self):
        self.exec("sh", "-c", "echo x > file").rest()
        self.assertTrue(os.path.exists(os.path.join(self.root.name, "shop", "db-0", "file")))

    def test_an_annotation_names_the_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            one = pod("placed")
            one["metadata"]["annotations"] = {"kube-test/exec-dir": folder}
            self.kube.make("/api/v1/namespaces/shop/pods", one)
            stream = Exec(self.kube.admin, "shop", "placed", ["pwd"], stdout=True)
            self.assertEqual(stream.rest()[0].decode().strip(), os.path.realpath(folder))

    def test_only_asked_for_streams_are_sent(self):
        stream = Exec(self.kube.admin, "shop", "db-0", ["sh", "-c", "echo a; echo b >&2"],
                      stderr=True)
        self.assertEqual(stream.rest()[:2], (b"", b"b\n"))

    def test_a_container_must_be_one_of_the_pod(self):
        self.assertEqual(self.exec("true", container="nope").code, 400)

    def test_a_frame_that_is_not_masked_ends_the_stream(self):
        stream = self.exec("sleep", "5", stdin=True)
        stream.sock.sendall(websocket.frame(websocket.BINARY, b"\0x"))
        begun = time.monotonic()
        with self.assertRaises((Gone, AssertionError)):
            stream.rest()
            self.assertEqual(stream.closed, 1002)
            raise Gone
        self.assertLess(time.monotonic() - begun, 4)


if __name__ == "__main__":
    unittest.main(warnings="ignore")
