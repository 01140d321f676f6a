"""The smallest gateway: measures, keeps each message in outbox.db until its receipt came, sends.

Kill it, the broker or meterwatch at any moment: nothing kept is lost, nothing is stored twice.
Python 3.9, paho-mqtt 2, one thread. Put your gateway, your broker and your readings in the place
of these. A broker with passwords and TLS wants two lines more, before the loop:

    client.username_pw_set(GATEWAY, "its password")
    client.tls_set("ca.pem")
"""

import json
import random
import sqlite3
import time

from paho.mqtt.client import CallbackAPIVersion, Client

GATEWAY, HOST, PORT = "gw-print", "127.0.0.1", 1883
again = {}  # id of a message -> when it is due again, and how long the wait after that is
outbox = sqlite3.connect("outbox.db", isolation_level=None)  # each statement is a commit
outbox.executescript("PRAGMA synchronous=EXTRA; CREATE TABLE IF NOT EXISTS kept (id UNIQUE, body)")


def keep(readings):
    """It is on disk when this returns."""
    message = {"id": random.randbytes(8).hex(), "readings": readings}
    outbox.execute("INSERT INTO kept VALUES (?, ?)", (message["id"], json.dumps(message)))


def turn():
    """A tenth of a second of listening and sending; a few seconds where it connects in vain."""
    up = client.loop(0) == 0  # an error: there is no connection, the oldest message makes one
    for own, body in outbox.execute("SELECT * FROM kept ORDER BY rowid LIMIT ?", [20 if up else 1]):
        at, wait = again.get(own, (0, 20))
        if time.monotonic() >= at:
            again[own] = (time.monotonic() + wait * random.uniform(0.8, 1.2), min(2 * wait, 600))
            if not up:
                client.connect(HOST, PORT)
                client.subscribe(f"meterwatch/v1/{GATEWAY}/replies", qos=1)
            client.publish(f"meterwatch/v1/{GATEWAY}/readings", body, qos=1)
    time.sleep(0.1)


def settle(_client, _data, message):
    """A reply: the message can be forgotten, or must rest for ten minutes."""
    print(reply := json.loads(message.payload))  # for a person: what was refused, and why
    again[reply["id"]] = (time.monotonic() + 600, 600)
    if not reply.get("retry"):
        outbox.execute("DELETE FROM kept WHERE id = ?", (reply["id"],))
        del again[reply["id"]]


client = Client(CallbackAPIVersion(2), GATEWAY, clean_session=False).max_queued_messages_set(20)
client.on_connect = lambda _client, _data, _flags, code, _properties: print("connection:", code)
client.on_message = settle
while True:
    now = time.time_ns() // 1_000_000
    keep([{"device": "main-meter", "time": now, "values": {"energy.active.import": now / 3.6e6}}])
    for _ in range(600):  # a minute
        try:
            turn()
        except OSError as fault:
            print(f"no connection to {HOST}:{PORT}: {fault}")
