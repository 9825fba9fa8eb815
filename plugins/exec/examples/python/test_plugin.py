"""The program by itself: the test is its host, and its platform. `python3 -m unittest` runs it."""

import json
import pathlib
import subprocess
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROGRAM = pathlib.Path(__file__).with_name("plugin.py")


class Platform(ThreadingHTTPServer):
    """Has one update, and answers sends with this status."""

    daemon_threads = True

    def __init__(self, status=200):
        super().__init__(("127.0.0.1", 0), Reply)
        self.status, self.sent, self.confirmed = status, [], False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Reply(BaseHTTPRequestHandler):
    def do_GET(self):
        new = "offset=0" in self.path
        self.server.confirmed |= not new
        if not new:
            time.sleep(0.05)
        update = {"update_id": 7, "user": "alice", "chat_id": None, "text": "hi"}
        self.answer(200, {"updates": [update] if new else []})

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.sent.append(json.loads(self.rfile.read(length)))
        self.answer(self.server.status, {"message_id": "m1"})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Program:
    def __init__(self, settings):
        command = [sys.executable, str(PROGRAM)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.tell("hello", instance="x", platform="x", settings=settings)

    def tell(self, kind, **fields):
        self.process.stdin.write(json.dumps({"v": 1, "type": kind, **fields}) + "\n")
        self.process.stdin.flush()

    def hears(self, kind):
        for line in self.process.stdout:
            line = json.loads(line)
            if line["type"] == kind:
                return line
        raise AssertionError(f"it ended before it said {kind}")

    def deliver(self, text):
        response = {"id": "r1", "text": text, "rest": text, "chat_id": None, "attempt": 1, "parts": []}
        self.tell("deliver", id=1, response=response, profile={"platform_user_id": "alice"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.process as process:
            process.stdin.close()
            process.wait(timeout=20)


class Tests(unittest.TestCase):
    def program(self, status=200):
        self.platform = Platform(status)
        self.addCleanup(self.platform.server_close)
        self.addCleanup(self.platform.shutdown)
        return Program({"url": self.platform.url})

    def test_a_message_goes_in_and_an_answer_out(self):
        with self.program() as program:
            program.hears("ready")
            report = program.hears("ingest")
            self.assertEqual((report["message"]["event_id"], report["message"]["text"]), ("7", "hi"))
            self.assertFalse(self.platform.confirmed, "not before it is accepted")
            program.tell("accepted", id=report["id"], message_id="1", duplicate=False)
            program.deliver("hello")
            self.assertEqual(program.hears("delivered")["platform_message_ids"], ["m1"])
            self.assertEqual(self.platform.sent[0]["text"], "hello")

    def test_whoever_blocked_it_is_not_tried_again(self):
        with self.program(status=403) as program:
            program.hears("ready")
            program.deliver("hello")
            self.assertEqual(program.hears("dead")["class"], "blocked")

    def test_without_an_address_it_says_what_is_missing(self):
        with Program({}) as program:
            self.assertEqual(program.hears("failed")["cause"], "settings")


if __name__ == "__main__":
    unittest.main()
