#!/usr/bin/env python3
"""A client of Leveret in another language: submits jobs over AMQP and collects every answer.

It knows nothing but PRODUCT's messages: it publishes with confirms to the jobs exchange, gives `reply_to` and
`correlation_id`, and keeps its own book of what it was promised. Half of the jobs are answered on RabbitMQ's direct
reply-to, half on a queue of ours under the prefix. Progress goes to standard output, a line of JSON each; the verdict
is the last one. Exits 0 when nothing was lost, wrong or answered twice with different messages.
"""
import argparse
import collections
import json
import sys
import time
import uuid

import pika

DIRECT = "amq.rabbitmq.reply-to"
PROGRESS_EVERY = 20

WORKFLOW = """
name: system-test
parameters:
  number: { type: integer, required: true, minimum: 1 }
tasks:
  list:
    action: core.echo
    input: { message: [1, 2, 3, 4, 5] }
    next:
      - when: succeeded()
        publish: { numbers: "{{ result }}" }
        do: [multiply, nap]
  multiply:
    action: core.echo
    with_items: "{{ workflow.numbers }}"
    input: { message: "{{ item * parameters.number }}" }
    next:
      - when: succeeded()
        publish: { products: "{{ result }}" }
        do: total
  nap:
    action: core.sleep
    input: { seconds: 0.2 }
    next:
      - when: succeeded()
        do: total
  total:
    join: all
    action: core.echo
    input: { message: "{{ workflow.products | sum }}" }
    next:
      - when: parameters.number % 10 == 0
        do: fail
output:
  total: "{{ task.total.result }}"
"""


class Book:
    """What was submitted and what was answered. Judges by itself, without asking the server."""

    def __init__(self, run):
        self.run = run
        self.numbers = {}
        # Per job and kind of answer: message id to body. More than one key is an answer that changed its mind.
        self.answers = collections.defaultdict(lambda: collections.defaultdict(dict))
        self.repeated = 0
        self.strangers = []

    def submitted(self, number):
        self.numbers[f"{self.run}-{number}"] = number

    def answered(self, properties, body):
        job = properties.correlation_id
        if job not in self.numbers or not properties.message_id:
            self.strangers.append({"correlation_id": job, "message_id": properties.message_id, "type": properties.type})
            return
        seen = self.answers[job][properties.type]
        self.repeated += properties.message_id in seen
        seen[properties.message_id] = json.loads(body)

    def finished(self):
        return sum(1 for kinds in self.answers.values() if "finished" in kinds)

    def complete(self):
        return all({"accepted", "finished"} <= self.answers[job].keys() for job in self.numbers)

    def problems(self):
        found = [f"an answer that nobody waits for: {stranger}" for stranger in self.strangers]
        for job, number in self.numbers.items():
            kinds = self.answers[job]
            for kind in ("accepted", "finished"):
                if not kinds.get(kind):
                    found.append(f"{job}: lost: never {kind}")
                elif len(kinds[kind]) > 1:
                    found.append(f"{job}: {kind} in {len(kinds[kind])} different messages")
            found += [f"{job}: answered {kind}" for kind in kinds if kind not in ("accepted", "finished")]
            for answer in kinds.get("finished", {}).values():
                found += self.wrong(job, number, answer)
        return found

    @staticmethod
    def wrong(job, number, answer):
        status = "failed" if number % 10 == 0 else "succeeded"
        wanted = {"id": job, "status": status, "output": {"total": 15 * number}}
        found = [f"{job}: {key} is {answer.get(key)!r}, not {value!r}" for key, value in wanted.items() if answer.get(key) != value]
        if (status == "failed") != bool(answer.get("error")):
            found.append(f"{job}: {status} with the error {answer.get('error')!r}")
        return found


def tell(**progress):
    print(json.dumps(progress), flush=True)


def publish(channel, exchange, number, book, reply_queue):
    job = f"{book.run}-{number}"
    properties = pika.BasicProperties(
        content_type="application/json", delivery_mode=2, message_id=job, correlation_id=job,
        reply_to=DIRECT if number % 2 else reply_queue)
    body = {"definition": WORKFLOW, "parameters": {"number": number}, "id": job, "labels": {"from": "python"}}
    # With confirms on this returns when the broker has the job, and raises when it refuses or cannot route it.
    channel.basic_publish(exchange, "job", json.dumps(body), properties, mandatory=True)
    book.submitted(number)


def expect_rejection(channel, exchange, reply_queue, wait):
    """A job that is wrong in two ways is told both, under its own correlation id."""
    answers = []
    tag = channel.basic_consume(reply_queue, lambda _c, _m, p, b: answers.append((p.type, p.correlation_id, json.loads(b))), auto_ack=True)
    body = {"definition": WORKFLOW, "parameters": {"nmber": 1}}
    properties = pika.BasicProperties(content_type="application/json", message_id="wrong", correlation_id="wrong", reply_to=reply_queue)
    channel.basic_publish(exchange, "job", json.dumps(body), properties, mandatory=True)
    wait(lambda: answers)
    channel.basic_cancel(tag)
    if not answers:
        return ["the wrong job was never answered"]
    kind, correlation, answer = answers[0]
    if (kind, correlation, answer.get("status")) != ("rejected", "wrong", "rejected") or len(answer.get("errors", [])) < 2:
        return [f"the wrong job was answered {kind} {answer}"]
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--prefix", default="leveret")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--deadline", type=float, default=120, help="seconds for everything")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.deadline
    book = Book(f"py-{uuid.uuid4().hex[:8]}")
    exchange, reply_queue = f"{arguments.prefix}.jobs", f"{arguments.prefix}.reply.{book.run}"

    connection = pika.BlockingConnection(pika.URLParameters(arguments.amqp))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(reply_queue, exclusive=True)

    def wait(done):
        while not done() and time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.2)

    problems = expect_rejection(channel, exchange, reply_queue, wait)

    def answered(_channel, _method, properties, body):
        before = book.finished()
        book.answered(properties, body)
        if book.finished() != before and book.finished() % PROGRESS_EVERY == 0:
            tell(finished=book.finished(), of=arguments.jobs)

    # Direct reply-to wants its consumer first, on the channel that publishes.
    channel.basic_consume(DIRECT, answered, auto_ack=True)
    channel.basic_consume(reply_queue, answered, auto_ack=True)
    started = time.monotonic()
    for number in range(1, arguments.jobs + 1):
        publish(channel, exchange, number, book, reply_queue)
    tell(confirmed=len(book.numbers))
    wait(book.complete)
    took = time.monotonic() - started
    connection.close()

    problems += book.problems()
    tell(jobs=arguments.jobs, finished=book.finished(), repeated=book.repeated, seconds=round(took, 1), problems=problems)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
