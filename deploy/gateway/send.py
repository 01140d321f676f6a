"""Sends messages to meterwatch over MQTT, and keeps each until its receipt has come.

    your-program | python send.py gw-print mqtts://broker.example:8883 outbox.db

stdin: one message a line, as docs/gateway-protocol.md has it; one without "id" is given one.
stdout: the id of each line, once it is on disk and safe. stderr: receipts that refuse something or
say what else to mend.
Kill this program, the broker or the collector at any moment: what has no receipt is sent again
under the same id, and stored once. It ends when stdin has ended and nothing waits any more.

Needs Python 3.9 and paho-mqtt 2. In the environment, where needed: MQTT_USER and MQTT_PASSWORD,
CA_FILE (of the broker's certificate), PATIENCE (seconds until a message is sent again).
"""

import json
import os
import queue
import random
import secrets
import sqlite3
import sys
import threading
import time
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

WINDOW = 20  # messages on their way at a time
STUBBORN = 5  # times; what was sent more often keeps nobody else waiting
PATIENCE = float(os.environ.get("PATIENCE", "20"))
LONGEST = 600.0  # seconds; a wait doubles up to it
LARGEST = 1 << 20  # bytes of a message
silence = []  # the first message that was left without a receipt: of it a person is told


def main(gateway, url, file):
    broker = urlsplit(url)
    if broker.scheme not in {"mqtt", "mqtts"} or not broker.hostname:
        sys.exit(f"{url}: write mqtt://HOST:PORT, or with TLS mqtts://HOST:PORT")
    outbox = sqlite3.connect(file)
    outbox.execute("PRAGMA synchronous = EXTRA")  # FULL: a power cut may undo the last commit
    outbox.execute(
        "CREATE TABLE IF NOT EXISTS message"
        " (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, body TEXT)"
    )
    events = queue.SimpleQueue()  # what other threads see comes to this one
    room = threading.Semaphore(100)  # lines that were read and are not kept yet
    client = connect(gateway, broker, events)
    threading.Thread(target=read, args=(sys.stdin, events, room), daemon=True).start()
    sent = {}  # id -> [when it is due again, how often it was sent]
    newest, up, reading = 0, False, True
    while reading or outbox.execute("SELECT 1 FROM message").fetchone():
        try:
            kind, what = events.get(timeout=0.5)
        except queue.Empty:
            kind = what = None
        if kind == "line":
            keep(outbox, what)
            room.release()
        elif kind == "reply":
            settle(outbox, sent, json.loads(what))
        elif kind == "up":
            up = what
            soon = time.monotonic() + PATIENCE / 4  # what the broker kept for us comes first
            sent = {own: [min(due, soon), 0] for own, (due, _) in sent.items()}
        elif kind == "end":
            reading = False
        if up:
            newest = send(outbox, sent, newest, client, f"meterwatch/v1/{gateway}/readings")
    client.disconnect()


def keep(outbox, line):
    try:
        message = json.loads(line)
        if message.get("id") is None:
            message["id"] = secrets.token_hex(6)
        if type(message["id"]) not in {str, int} or not 0 < len(str(message["id"])) <= 64:
            raise ValueError("its id is no text or whole number of 64 characters at most")
        own = str(message["id"])
        body = json.dumps(message, separators=(",", ":"), allow_nan=False)
        if len(body) > LARGEST:
            raise ValueError(f"it has {len(body)} bytes, {LARGEST} are the most")
    except (ValueError, AttributeError) as fault:
        print(f"not a message, and not sent: {fault}: {line.strip()[:200]}", file=sys.stderr)
        return
    with outbox:  # commits; a line that comes twice is kept once
        outbox.execute("INSERT OR IGNORE INTO message (id, body) VALUES (?, ?)", (own, body))
    kept = outbox.execute("SELECT body FROM message WHERE id = ?", (own,)).fetchone()
    if kept != (body,):
        print(f"not sent: another message waits under the id {own}", file=sys.stderr)
        return
    print(own, flush=True)


def settle(outbox, sent, receipt):
    own = str(receipt["id"])
    if receipt.get("retry"):  # its disk is full; it stores the message when it can, and says so
        if own in sent:
            sent[own][0] = time.monotonic() + LONGEST
        return
    if receipt["refused"] or receipt.get("remarks"):  # for a person: sent again it is the same
        print(json.dumps(receipt), file=sys.stderr)
    with outbox:
        outbox.execute("DELETE FROM message WHERE id = ?", (own,))
    sent.pop(own, None)


def send(outbox, sent, newest, client, topic):
    """What is due again, then new ones while there is room; the number of the newest sent."""
    now = time.monotonic()
    for own in [own for own, (due, _) in sent.items() if due <= now]:
        for (body,) in outbox.execute("SELECT body FROM message WHERE id = ?", (own,)):
            publish(client, topic, sent, own, body)
    under_way = sum(times < STUBBORN for _, times in sent.values())
    query = "SELECT number, id, body FROM message WHERE number > ? ORDER BY number LIMIT ?"
    fresh = outbox.execute(query, (newest, max(0, WINDOW - under_way))).fetchall()
    for _, own, body in fresh:
        publish(client, topic, sent, own, body)
    return fresh[-1][0] if fresh else newest


def publish(client, topic, sent, own, body):
    times = sent[own][1] if own in sent else 0
    wait = min(PATIENCE * 2**times, LONGEST) * random.uniform(0.8, 1.2)
    sent[own] = [time.monotonic() + wait, times + 1]
    if times == 1 and not silence:
        silence.append(own)
        print(
            f"no receipt yet, sent again: {own}. If none comes at all: does meterwatch run at this"
            " broker, may it write replies, is the gateway's id in its registry?",
            file=sys.stderr,
        )
    if times + 1 == STUBBORN:
        print(f"sent {STUBBORN} times, and no receipt yet: {own}", file=sys.stderr)
    client.publish(topic, body, qos=1)


def connect(gateway, url, events):
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=f"{gateway}-send", clean_session=False
    )
    if "MQTT_PASSWORD" in os.environ:
        client.username_pw_set(os.environ.get("MQTT_USER", gateway), os.environ["MQTT_PASSWORD"])
    if url.scheme == "mqtts":
        client.tls_set(os.environ.get("CA_FILE"))

    def connected(_client, _data, _flags, code, _properties):
        if code.is_failure:
            print(f"the broker does not let us in: {code}", file=sys.stderr)
        else:
            client.subscribe(f"meterwatch/v1/{gateway}/replies", 1)

    def subscribed(_client, _data, _mid, codes, _properties):
        if any(code.is_failure for code in codes):
            print(f"the broker lets us read no receipts: {codes[0]}", file=sys.stderr)
        events.put(("up", True))

    client.on_connect = connected
    client.on_connect_fail = lambda *_: print(
        f"no connection to {url.netloc}: its address, TLS, CA_FILE?", file=sys.stderr
    )
    client.on_subscribe = subscribed
    client.on_disconnect = lambda *_: events.put(("up", False))
    client.on_message = lambda _client, _data, message: events.put(("reply", message.payload))
    client.connect_async(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883))
    client.loop_start()
    return client


def read(lines, events, room):
    for line in lines:
        if line.strip():
            room.acquire()
            events.put(("line", line))
    events.put(("end", None))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
