"""Dramatiq: its actors, which the worker imports, and the driver that sends to them.

    dramatiq_work.py noop COUNT | pipeline COUNT | items COUNT
"""

import os
import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

import marks
import sending

dramatiq.set_broker(RabbitmqBroker(url=os.environ["PEER_AMQP"]))

done = marks.done()


@dramatiq.actor(queue_name="work")
def noop(place):
    done.write(place)


@dramatiq.actor(queue_name="work")
def item(place, context):
    value = sending.value(place, context)
    done.write(place)
    return value


def send_noops(count):
    sending.noops(noop.send, done, count)


def send_pipeline(count):
    """One pipeline: each worker sends the next message when the former has ended. That is Dramatiq's own way."""
    sent = marks.sent()
    sending.warm(noop.send, done)
    steps = [noop.message_with_options(args=(place,), pipe_ignore=True) for place in range(1, count + 1)]
    sent.write(1)
    dramatiq.pipeline(steps).run()


def send_items(count):
    sending.items(noop.send, item.send, done, count)


WORK = {"noop": send_noops, "pipeline": send_pipeline, "items": send_items}

if __name__ == "__main__":
    WORK[sys.argv[1]](int(sys.argv[2]))
