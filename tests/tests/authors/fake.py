"""Plays the platform of a plugin: the suite tells it what people do, it tells the suite what the plugin sent."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

updates, parts, faults, blocked = [], {}, [], set()
changed = threading.Condition()


def tell(line):
    print(json.dumps(line), flush=True)


class Reply(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlparse(self.path)
        if url.path != "/updates":
            sent = parts.get(url.path.rsplit("/", 1)[-1])
            return self.answer(200, {"parts": sent}) if sent else self.answer(404, {})
        offset = int(parse_qs(url.query)["offset"][0])
        with changed:
            updates[:] = [update for update in updates if update["update_id"] >= offset]
            if not updates:
                changed.wait(int(parse_qs(url.query)["wait_ms"][0]) / 1000)
            page = updates[:50]
        return self.answer(200, {"updates": page})

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if message["user"] in blocked:
            return self.answer(403, {})
        if faults:
            fault = faults.pop()
            if fault["fault"] == "rate_limited":
                return self.answer(429, {}, {"Retry-After": str(fault["retry_after_s"])})
            return self.answer(500, {})
        with changed:
            number = f"f{sum(map(len, parts.values())) + 1}"
            part = {"message_id": number, "bytes": len(message["text"].encode()), "last": message["last"]}
            parts.setdefault(message["response_id"], []).append(part)
        tell({"sent": {"user": message["user"], "text": message["text"], "id": number}})
        return self.answer(200, {"message_id": number})

    def answer(self, status, body, headers=()):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Reply)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
tell({"url": f"http://127.0.0.1:{server.server_address[1]}", "faults": ["rate_limited", "server_error", "blocked"]})
count = 0
for line in sys.stdin:
    told = json.loads(line)
    with changed:
        if "say" in told:
            count += 1
            updates.append({"update_id": count, "chat_id": None, **told["say"]})
            changed.notify_all()
        elif "blocked" in told:
            blocked.add(told["blocked"])
        else:
            faults.append(told)
