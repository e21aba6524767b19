"""What the drivers in Python do alike: they differ only in how a task is sent."""

import json
import os

import marks

WARM_SECONDS = 30


def value(place, context):
    """What an item does: reads one line of the context and its own number, as the items of Leveret's measurement do."""
    return len(context[place % 10]) + place


def warm(send_noop, done):
    """The first message opens connections and declares queues, here and in the worker."""
    send_noop(0)
    done.wait(0, WARM_SECONDS)


def noops(send_noop, done, count):
    sent = marks.sent()
    warm(send_noop, done)
    for place in range(1, count + 1):
        sent.write(place)
        send_noop(place)


def items(send_noop, send_item, done, count):
    """Every message carries the context."""
    sent = marks.sent()
    with open(os.environ["PEER_CONTEXT"], encoding="utf-8") as file:
        context = json.load(file)
    warm(send_noop, done)
    for place in range(1, count + 1):
        sent.write(place)
        send_item(place, context)
