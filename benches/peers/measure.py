"""Measures one piece of work on one peer: a worker of its own, a warm-up, the samples, what they cost, and the end."""

import os
import pathlib
import time

import marks
import processes
import results

NANOSECONDS = 1e9


class Sample:
    def __init__(self, piece, sent, done, driver_mib):
        first, last = sent[1], max(done[1:])
        self.seconds = (last - first) / NANOSECONDS
        if piece.in_sequence:
            begun = [first, *done[1:-1]]
        else:
            begun = sent[1:]
        self.milliseconds = [(end - begin) / 1e6 for begin, end in zip(begun, done[1:], strict=True)]
        self.driver_mib = driver_mib

    def figure(self, piece):
        return piece.count / self.seconds if piece.unit == "tasks/s" else self.seconds


class Place:
    """Where a piece is measured: a virtual host that only this peer uses, a folder, a worker of its own."""

    def __init__(self, broker, peer, piece, folder):
        self.broker, self.peer, self.piece = broker, peer, piece
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.logs = {name: self.folder / f"{name}.log" for name in ("driver", "worker")}
        self.environment = os.environ | dict(piece.environment) | {
            "PEER_AMQP": broker.room(peer.identity),
            "PEER_MARKS": str(self.folder),
            "PEER_CONTEXT": str(self.folder / "context"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RUST_BACKTRACE": "0",
        }
        self.sent, self.done = marks.Marks(self.folder / "sent"), marks.Marks(self.folder / "done")
        self.worker = None

    def __enter__(self):
        self.broker.forget_peak()
        self.worker = processes.start(self.peer.worker, self.environment, self.logs["worker"])
        return self

    def __exit__(self, *_):
        processes.stop(self.worker)
        self.sent.close()
        self.done.close()

    def sample(self, count):
        self.sent.clear(count + 1)
        self.done.clear(count + 1)
        command = (*self.peer.driver, self.piece.driver, str(count))
        driver = processes.Driver(command, self.environment, self.logs["driver"])
        try:
            self.wait(driver, count)
        finally:
            driver.stop()
        return Sample(self.piece, self.sent.read(), self.done.read(), driver.peak_mib)

    def samples(self, say):
        """The samples, and the bytes into and out of the broker for one of them."""
        piece = self.piece
        self.sample(piece.warm_up)
        before = self.broker.traffic()
        taken = []
        for _ in range(piece.samples):
            taken.append(self.sample(piece.count))
            say(f"{piece.identity}: {taken[-1].figure(piece):.4g} {piece.unit}")
        after = self.broker.traffic()
        return taken, [(now - then) / piece.samples for now, then in zip(after, before, strict=True)]

    def wait(self, driver, count):
        """Until the driver has ended and every task has been done. What took how long is in the marks."""
        deadline = time.monotonic() + self.piece.seconds_max
        while not (driver.ended() and all(self.done.read()[1 : count + 1])):
            if self.worker.poll() is not None:
                raise RuntimeError(f"the worker ended with {self.worker.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {self.piece.seconds_max} s")
            time.sleep(0.02)

    def worker_peak_mib(self):
        return sum(processes.peak_mib(pid) for pid in processes.family(self.worker.pid))

    def last_words(self):
        said = []
        for name, log in self.logs.items():
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            said.append(f"{name}: {lines[-1] if lines else 'nothing'}")
        return "; ".join(said)


def write_context(path, size):
    """A list of lines of 64 bytes, quotes and comma included: what Leveret's items share too."""
    lines = ",".join(f'"{number:061}"' for number in range(max(size // 64, 10)))
    path.write_text(f"[{lines}]", encoding="ascii")


def measure(broker, peer, piece, folder, say):
    """A row, or a row that says why there is none. What fails is tried once more, with another worker."""
    for attempt in ("first", "second"):
        place = Place(broker, peer, piece, folder / attempt)
        if piece.context_bytes:
            write_context(place.folder / "context", piece.context_bytes)
        try:
            with place:
                return row(place, *place.samples(say))
        except (RuntimeError, TimeoutError, OSError) as problem:
            why = f"{problem}; last words of {place.last_words()}"
            say(f"{piece.identity}: the {attempt} attempt failed: {why}")
            broker.empty(peer.identity, "work")
    return results.missing(piece.identity, piece.what, why)


def row(place, samples, traffic):
    piece = place.piece
    return results.row(
        piece.identity,
        f"{place.peer.name}: {piece.what}",
        piece.unit,
        [sample.figure(piece) for sample in samples],
        **results.latencies([each for sample in samples for each in sample.milliseconds]),
        bytes_in=traffic[0],
        bytes_out=traffic[1],
        worker_peak_mib=place.worker_peak_mib(),
        driver_peak_mib=max(sample.driver_mib for sample in samples),
        broker_peak_mib=place.broker.peak_mib(),
    )
