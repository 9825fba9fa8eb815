#!/usr/bin/env python3
"""A plugin in Python, with nothing but the standard library.

Its platform is the scripted one that `broca rehearse platform` runs: HTTP and JSON, polled for what people write, and
asked whether it has an answer. A real platform's API stands where the class Platform is; the rest stays as it is.
"""

import json
import queue
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor


class Host:
    """The other end of standard input and output: one JSON object a line."""

    def __init__(self):
        self.writing = threading.Lock()
        self.waiting = {}  # Answers to our own questions, by the number of the question.
        self.records = {}  # Whether a part is on record, by the number of its delivery.
        self.asked = 0

    def say(self, kind, **fields):
        line = json.dumps({"v": 1, "type": kind, **fields})
        with self.writing:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def ask(self, kind, **fields):
        answer = queue.SimpleQueue()
        with self.writing:
            self.asked += 1
            number = self.asked
        self.waiting[number] = answer
        self.say(kind, id=number, **fields)
        return answer.get()

    def lines(self):
        for line in sys.stdin:
            yield json.loads(line)


class Platform:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def call(self, path, body=None, timeout=10):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return json.load(reply)

    def updates(self, offset, wait_ms):
        path = f"/updates?offset={offset}&limit=50&wait_ms={wait_ms}"
        return self.call(path, timeout=10 + wait_ms / 1000)["updates"]

    def sent(self, response_id):
        """What the platform has of an answer."""
        try:
            return self.call(f"/sent/{response_id}")["parts"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise


class Plugin:
    def __init__(self, host, settings):
        self.host = host
        self.platform = Platform(settings["url"])
        self.max_chars = settings.get("max_text_chars")
        self.stopping = threading.Event()

    def poll(self):
        """What people write goes in; the platform forgets an update only when the next poll is behind it."""
        offset, connected = 0, None
        while not self.stopping.is_set():
            try:
                offset = self.take(offset, wait_ms=2_000 if connected else 0)
                problem = None
            except (OSError, ValueError) as error:
                problem = f"the platform does not answer: {error}"
            except Unavailable as error:
                problem = str(error)
            if connected is not (problem is None):
                connected = problem is None
                self.host.say("state", state="connected" if connected else "degraded", detail=problem or "")
            if problem:
                self.stopping.wait(0.5)

    def take(self, offset, wait_ms):
        updates = self.platform.updates(offset, wait_ms)
        for update in sorted(updates, key=lambda update: update["update_id"]):
            message = {
                "event_id": str(update["update_id"]),
                "sender": {"platform_user_id": update["user"], "username": update["user"]},
                "chat_id": update["chat_id"],
                "text": update["text"],
            }
            answer = self.host.ask("ingest", message=message)
            if answer["type"] == "unavailable":
                raise Unavailable(answer["reason"])  # Not confirmed: the platform gives it again.
            offset = update["update_id"] + 1  # Accepted, or refused for good.
        return offset

    def deliver(self, order):
        """One answer goes out, in as many messages as the platform wants for it."""
        number, response = order["id"], order["response"]
        rest, part = response["rest"], len(response["parts"])
        while True:
            piece, rest = (rest[: self.max_chars], rest[self.max_chars :]) if self.max_chars else (rest, "")
            send = {
                "response_id": response["id"],
                "user": order["profile"]["platform_user_id"],
                "chat_id": response["chat_id"],
                "text": piece,
                "part": part,
                "last": not rest,
            }
            try:
                sent = self.platform.call("/send", send)["message_id"]
            except urllib.error.HTTPError as error:
                return self.refused(number, error)
            except (OSError, ValueError) as error:
                if not_reached(error):
                    return self.host.say("retry", id=number, **{"class": "unavailable"}, reason=str(error))
                # It may have it, or not: `settle` asks.
                return self.host.say("unknown", id=number, **{"class": "timeout"}, reason=str(error))
            if not rest:
                return self.host.say("delivered", id=number, platform_message_ids=[sent])
            recorded = self.recorded(number)
            self.host.say("part", id=number, platform_message_id=sent, text_bytes=len(piece.encode()))
            if not recorded.get():
                return None  # Somebody else goes on with it.
            part += 1

    def recorded(self, number):
        return self.host.records.setdefault(number, queue.SimpleQueue())

    def refused(self, number, error):
        if error.code == 429:
            after = int(float(error.headers.get("Retry-After", "1")) * 1000)
            self.host.say("retry", id=number, after_ms=after, **{"class": "rate_limited"}, reason="the rate is limited")
        elif error.code == 403:
            self.host.say("dead", id=number, **{"class": "blocked"}, reason="the person blocked the bot")
        elif error.code >= 500:
            self.host.say("retry", id=number, **{"class": "unavailable"}, reason=f"the platform answered {error.code}")
        else:
            self.host.say("dead", id=number, **{"class": "rejected"}, reason=f"the platform answered {error.code}")

    def settle(self, order):
        """A delivery was cut off: does the platform have the answer?"""
        number = order["id"]
        try:
            sent = self.platform.sent(order["response"]["id"])
        except (OSError, ValueError):
            return self.host.say("settled", id=number, outcome="cannot_tell")
        if not sent:
            return self.host.say("settled", id=number, outcome="not_delivered")
        if sent[-1]["last"]:
            ids = [part["message_id"] for part in sent]
            return self.host.say("settled", id=number, outcome="delivered", platform_message_ids=ids)
        end, parts = 0, []
        for part in sent:
            end += part["bytes"]
            parts.append({"platform_message_id": part["message_id"], "text_end": end})
        return self.host.say("settled", id=number, outcome="partly", parts=parts)


class Unavailable(Exception):
    pass


def not_reached(error):
    """Whether there was not even a connection."""
    return isinstance(getattr(error, "reason", error), (ConnectionRefusedError, socket.gaierror))


def main():
    host = Host()
    lines = host.lines()
    hello = next(lines)
    settings = hello["settings"]
    if not settings.get("url"):
        return host.say("failed", cause="settings", reason="url is missing: say where the platform is")
    plugin = Plugin(host, settings)
    capabilities = {"settles": True, "max_text_chars": settings.get("max_text_chars")}
    host.say("ready", name="python-example", version="1.0.0", capabilities=capabilities)
    poller = threading.Thread(target=plugin.poll, daemon=True)
    poller.start()
    with ThreadPoolExecutor(max_workers=32) as pool:
        for line in lines:
            kind = line["type"]
            if kind == "deliver":
                pool.submit(plugin.deliver, line)
            elif kind == "settle":
                pool.submit(plugin.settle, line)
            elif kind in ("part_recorded", "part_lost"):
                plugin.recorded(line["id"]).put(kind == "part_recorded")
            elif kind in ("accepted", "refused", "unavailable"):
                host.waiting.pop(line["id"]).put(line)
            elif kind == "shutdown":
                break
        plugin.stopping.set()
    # A poll that is under way is given up: nothing of it was confirmed.
    return None


if __name__ == "__main__":
    main()
