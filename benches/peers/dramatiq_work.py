"""Dramatiq: its actors, which the worker imports, and the driver that sends to them.

    dramatiq_work.py noop COUNT | pipeline COUNT | items COUNT
"""

import json
import os
import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

import marks

dramatiq.set_broker(RabbitmqBroker(url=os.environ["PEER_AMQP"]))

done = marks.done()


@dramatiq.actor(queue_name="work")
def noop(place):
    done.write(place)


@dramatiq.actor(queue_name="work")
def item(place, context):
    """Reads one line of the context and its own number, as the items of Leveret's measurement do."""
    value = len(context[place % 10]) + place
    done.write(place)
    return value


def warm():
    """The first message opens the connection and declares the queue."""
    noop.send(0)
    done.wait(0, 30)


def send_noops(count):
    sent = marks.sent()
    warm()
    for place in range(1, count + 1):
        sent.write(place)
        noop.send(place)


def send_pipeline(count):
    """One pipeline: each worker sends the next message when the former has ended. That is Dramatiq's own way."""
    sent = marks.sent()
    warm()
    steps = [noop.message_with_options(args=(place,), pipe_ignore=True) for place in range(1, count + 1)]
    sent.write(1)
    dramatiq.pipeline(steps).run()


def send_items(count):
    """Every message carries the context."""
    sent = marks.sent()
    with open(os.environ["PEER_CONTEXT"], encoding="utf-8") as file:
        context = json.load(file)
    warm()
    for place in range(1, count + 1):
        sent.write(place)
        item.send(place, context)


WORK = {"noop": send_noops, "pipeline": send_pipeline, "items": send_items}

if __name__ == "__main__":
    WORK[sys.argv[1]](int(sys.argv[2]))
