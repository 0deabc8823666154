"""A worker without models, nor anything of anyrestore: what it does with an order is the model's name."""

import json
import os
import queue
import sys
import threading
import time

out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
setup = json.loads(sys.stdin.buffer.readline())
groups: queue.SimpleQueue = queue.SimpleQueue()
dropped = set()


def receive():
    for line in sys.stdin.buffer:
        said = json.loads(line)
        if "drop" in said:
            dropped.add(said["drop"])
        else:
            groups.put([(order, sys.stdin.buffer.read(order["size"])) for order in said["orders"]])
    os._exit(0)


def say(message, data=b""):
    out.write(json.dumps(message).encode() + b"\n" + data)
    out.flush()


def echo(order, data, together):
    done = {"format": "png", "width": 1, "height": 1, "bit_depth": 8, "model": order["model"], "seconds": 0.5}
    say({"id": order["id"], "done": {**done, "warnings": [f"{together} at once"]}, "size": len(data)}, data)


def do(order, data, together):
    match order["model"]:
        case "echo":
            echo(order, data, together)
        case "slow":
            say({"id": order["id"], "share": 0.5})
            time.sleep(0.3)
            echo(order, data, together)
        case "block" | "stubborn" as kind:
            while order["id"] not in dropped or kind == "stubborn":
                time.sleep(0.005)
            say({"id": order["id"], "dropped": True})
        case "crash":
            os._exit(7)
        case "picky":  # one picture of several that go together crashes it
            if order["format"] == "webp":
                os._exit(7)
            echo(order, data, together)
        case "error":
            say({"id": order["id"], "error": ["InputError", "it is cut short", "truncated"]})
        case "nonsense":
            out.write(b"\x80\x04K\x01.\n")  # a pickle
            out.flush()
        case "giant":
            say({"id": order["id"], "done": {}, "size": 2**40})
        case "stranger":
            say({"id": 10**6, "share": 0.5})


if "broken" in setup["models"]:
    say({"failed": ["ModelError", "there is no such model", "unknown_model"]})
    sys.exit(1)
if "dead" in setup["models"]:
    sys.exit(3)
threading.Thread(target=receive, daemon=True).start()
offers = [
    {"name": name, "parameters": 1, "takes_instruction": name == "told", "can_look": False, "title": ""}
    for name in setup["models"]
]
say({"hello": {"offers": offers, "together": 4, "together_pixels": 100}})
while True:
    group = groups.get()
    for order, data in group:
        do(order, data, len(group))
