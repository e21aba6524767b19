"""Celery: its application with the tasks, which the worker imports, and the driver that sends them.

    celery_work.py noop COUNT | noop-rpc COUNT | chain COUNT | wait COUNT | items COUNT
"""

import os
import sys

from celery import Celery, chain

import marks
import sending

RESULTS = os.environ.get("PEER_RESULTS") == "rpc"

app = Celery("celery_work", broker=os.environ["PEER_AMQP"], backend="rpc://" if RESULTS else None)
app.conf.update(
    # As the others do, and as one must who may not lose a task: acknowledged when it is done.
    task_acks_late=True,
    task_ignore_result=not RESULTS,
    broker_connection_retry_on_startup=True,
    task_default_queue="work",
)

done = marks.done()


@app.task(name="noop")
def noop(place):
    done.write(place)


@app.task(name="answer")
def answer(place):
    return place


@app.task(name="item")
def item(place, context):
    value = sending.value(place, context)
    done.write(place)
    return value


def send_noops(count):
    sending.noops(noop.delay, done, count)


def send_and_collect(count):
    """Sends all and takes each result as it arrives: every fifty tasks whatever is there, at the end all."""
    sent = marks.sent()
    answer.delay(0).get(timeout=60)
    consumer = app.backend.result_consumer
    left = count

    def arrived(result):
        nonlocal left
        done.write(result.result)
        left -= 1

    def drain(seconds):
        try:
            while left:
                consumer.drain_events(timeout=seconds)
        except TimeoutError:
            pass

    results = []
    for place in range(1, count + 1):
        sent.write(place)
        result = answer.delay(place)
        result.then(arrived)
        results.append(result)
        if place % 50 == 0:
            drain(0.0001)
    while left:
        consumer.drain_events(timeout=60)


def send_chain(count):
    """One chain: each worker sends the next task when the former has ended. That is Celery's own way."""
    sent = marks.sent()
    sending.warm(noop.delay, done)
    sent.write(1)
    chain(noop.si(place) for place in range(1, count + 1)).delay()


def send_and_wait(count):
    """A client that waits for each result before it sends the next."""
    sent = marks.sent()
    answer.delay(0).get(timeout=60)
    for place in range(1, count + 1):
        sent.write(place)
        answer.delay(place).get(timeout=60)
        done.write(place)


def send_items(count):
    sending.items(noop.delay, item.delay, done, count)


WORK = {
    "noop": send_noops,
    "noop-rpc": send_and_collect,
    "chain": send_chain,
    "wait": send_and_wait,
    "items": send_items,
}

if __name__ == "__main__":
    WORK[sys.argv[1]](int(sys.argv[2]))
