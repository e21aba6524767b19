"""The peers: how each is started, with which settings, and which pieces of work it does.

The settings are those that served each best of what was tried on two cores; README.md says what was tried.
"""

import dataclasses
import importlib.metadata
import sys

NOOPS = 20_000
STEPS = 40
ITEMS = 1_000

# Names and bytes of the shared context, as in Leveret's own measurement.
SIZES = {"1KB": 1 << 10, "100KB": 100 << 10, "1MB": 1 << 20, "5MB": 5 << 20}


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of work: what the driver is told, how often, and what comes of it."""

    identity: str
    what: str
    driver: str
    count: int
    samples: int
    warm_up: int
    # Of the context that every message carries; none when there is none.
    context_bytes: int = 0
    # Whether each task begins when the former has ended: then a latency is that of one hop.
    in_sequence: bool = False
    # `tasks/s` or `s`.
    unit: str = "tasks/s"
    environment: tuple = ()
    seconds_max: int = 240


@dataclasses.dataclass(frozen=True)
class Peer:
    identity: str
    name: str
    settings: str
    worker: tuple
    driver: tuple
    pieces: tuple
    # What must be installed from PyPI for it.
    packages: tuple = ()

    def versions(self):
        return {package: importlib.metadata.version(package) for package in self.packages}

    def of_stage(self, stage, quick):
        chosen = [piece for piece in self.pieces if piece.identity.split(".")[2] == stage]
        if quick:
            chosen = [dataclasses.replace(piece, count=max(piece.count // 10, 10), samples=1) for piece in chosen]
        return chosen


def noop(identity, driver, samples, how, **more):
    what = f"20,000 tasks that do nothing, {how}"
    return Piece(identity, what, driver, NOOPS, samples, warm_up=1_000, **more)


def sequence(identity, driver, how, **more):
    what = f"40 light tasks in sequence, {how}"
    return Piece(identity, what, driver, STEPS, 5, warm_up=STEPS, in_sequence=True, unit="s", **more)


def cold(peer, size, samples):
    what = f"1,000 items, a context of {size} in every message"
    identity = f"peers.{peer}.cold.{size}"
    return Piece(identity, what, "items", ITEMS, samples, warm_up=10, context_bytes=SIZES[size], unit="s")


def many(peer, count):
    what = f"{count:,} tasks that do nothing"
    return Piece(f"peers.{peer}.items.{count}", what, "noop", count, 3, warm_up=1_000, unit="s")


def celery():
    rpc = (("PEER_RESULTS", "rpc"),)
    options = "--pool prefork --concurrency 2 --without-gossip --without-mingle --without-heartbeat"
    return Peer(
        identity="celery",
        name="Celery",
        settings="2 prefork processes, acknowledged late, prefetch 4 for each, no publisher confirms",
        worker=(sys.executable, "-m", "celery", "-A", "celery_work", "worker", "-l", "ERROR", *options.split()),
        driver=(sys.executable, "celery_work.py"),
        packages=("celery", "kombu", "amqp"),
        pieces=(
            noop("peers.celery.noop.no_results", "noop", 1, "no results"),
            noop("peers.celery.noop.rpc", "noop-rpc", 1, "every result collected (`rpc://`)", environment=rpc),
            sequence("peers.celery.sequence.chain", "chain", "as a chain"),
            sequence("peers.celery.sequence.wait", "wait", "the client waits for each result", environment=rpc),
            *(many("celery", count) for count in (100, 1_000)),
            cold("celery", "1KB", 3),
            cold("celery", "100KB", 1),
            cold("celery", "1MB", 1),
            cold("celery", "5MB", 1),
        ),
    )


def dramatiq():
    options = "--processes 2 --threads 8 --skip-logging"
    return Peer(
        identity="dramatiq",
        name="Dramatiq",
        settings="2 processes of 8 threads, acknowledged late, default prefetch, no publisher confirms",
        worker=(sys.executable, "-m", "dramatiq", "dramatiq_work", "--queues", "work", *options.split()),
        driver=(sys.executable, "dramatiq_work.py"),
        packages=("dramatiq", "pika"),
        pieces=(
            noop("peers.dramatiq.noop.no_results", "noop", 1, "no results"),
            sequence("peers.dramatiq.sequence.pipeline", "pipeline", "as a pipeline"),
            cold("dramatiq", "1MB", 1),
        ),
    )


def rusty(binary):
    return Peer(
        identity="rusty",
        name="rusty-celery",
        settings="1 process, acknowledged late, prefetch 256, no publisher confirms",
        worker=(binary, "worker"),
        driver=(binary,),
        pieces=(
            noop("peers.rusty.noop.no_results", "noop", 1, "no results"),
            sequence("peers.rusty.sequence.sends_next", "sequence", "each task sends the next"),
            cold("rusty", "1MB", 1),
            cold("rusty", "5MB", 1),
        ),
    )


def settings():
    """What is said of each in the table."""
    described = [(peer.name, peer.settings) for peer in (celery(), dramatiq(), rusty("-"))]
    return [*described, ("Leveret", "1 scheduler (SQLite, `synchronous=FULL`), 2 workers of 256 slots, quorum queues")]
