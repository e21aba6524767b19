"""The table: a row for each system, a column for each piece of work, and how many times Celery's figure it is."""

import results

HEADING = (
    "system",
    "no-op tasks/s",
    "p50 / p99 ms",
    "40 in sequence, s",
    "a hop, p50 / p99 ms",
    "1,000 items × 1 MB, s",
    "bytes",
    "p50 / p99 ms",
    "1,000 items × 5 MB, s",
    "bytes",
    "peak at 1 MB, MiB: workers / sender / broker",
)

# A system: its name, and its rows for the four pieces of work. The second in each pair is what it is compared with.
CELERY, CELERY_RPC = "Celery, no results", "Celery, results collected"
SYSTEMS = (
    (CELERY, "peers.celery.noop.no_results", "peers.celery.sequence.chain", "peers.celery.cold."),
    (CELERY_RPC, "peers.celery.noop.rpc", "peers.celery.sequence.wait", None),
    ("Dramatiq, no results", "peers.dramatiq.noop.no_results", "peers.dramatiq.sequence.pipeline", "peers.dramatiq.cold."),
    ("rusty-celery, no results", "peers.rusty.noop.no_results", "peers.rusty.sequence.sends_next", "peers.rusty.cold."),
    ("**Leveret**, items of one run", "noop", "sequence", "cold."),
    ("**Leveret**, runs of one task by queue", "queue", None, None),
)
# Who answers is compared with Celery that answers.
WITH_RESULTS = ("queue", "peers.celery.noop.rpc")

# That its load generator starts.
LEVERET_WORKERS = 2

NOTES = """\
- `(n×)`: how many times as fast as Celery in the same run. The first column compares items of a Leveret run, and peers without
  results, with Celery without results; runs by queue, each answered, with Celery whose results are collected. The other
  columns compare with Celery's chain and with Celery's items.
- No-op: peers are sent 20,000 tasks as fast as one process can. Leveret does 10,000 items of one run, and 20,000 runs of one task
  submitted and answered by queue. p50 and p99 are from the publish to the end of the task, or to its result where results are
  collected; whoever sends faster than it works queues, and so has the higher latency.
- Sequence: each task is sent when the former has ended. Celery: a chain in the first row, a client that waits for each result
  in the second. Dramatiq: a pipeline. rusty-celery: the task sends the next. Leveret: one run, from submission to its answer.
- Items: peers carry the context in every message; Leveret's workers begin without it and fetch it once.
- Bytes: what the broker has read from sockets and written to them. Leveret's include what workers fetched from the scheduler.
- Peaks: the kernel's `VmHWM`. Workers: the sum over their processes, which counts pages that forked processes share more than once;
  for Leveret twice the larger of its two workers. Sender: who sends the items, for Leveret the scheduler.
- Peers keep tasks in classic durable queues and publish without waiting for confirms, which is their default and their fastest.
  Leveret uses quorum queues, waits for every confirm, and writes every step to its store before it goes on.
"""


def short(figure):
    """Three digits that count, thousands apart."""
    if figure >= 100:
        return f"{figure:,.0f}"
    if figure >= 10:
        return f"{figure:.1f}"
    return f"{figure:.2f}" if figure >= 1 else f"{figure:.2g}"


def size(count):
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= factor:
            return f"{short(count / factor)} {unit}"
    return f"{count:.0f} B"


def figure(row, compared):
    """The median, its spread, and its ratio: which way round is better depends on the unit."""
    spread = f" [{short(row['low'])}–{short(row['high'])}]" if len(row["samples"]) > 1 else " [one sample]"
    if compared is None:
        return short(row["median"]) + spread
    pair = (compared["median"], row["median"])
    ratio = pair[0] / pair[1] if row["unit"] == "s" else pair[1] / pair[0]
    return f"{short(row['median'])}{spread} ({short(ratio)}×)"


def percentiles(row):
    if row is None or "p50_ms" not in row:
        return "–"
    return f"{short(row['p50_ms'])} / {short(row['p99_ms'])}"


def traffic(row):
    """Bytes through the broker, in and out, and what went past it."""
    if row is None or "bytes_in" not in row:
        return "–"
    return size(row["bytes_in"] + row["bytes_out"] + row.get("values_bytes", 0))


def peaks(row):
    if row is None or "worker_peak_mib" not in row:
        return "–"
    # Peers' rows have the sum over a worker's processes, Leveret's the larger of its workers.
    senders = row.get("driver_peak_mib", row.get("scheduler_peak_mib"))
    workers = row["worker_peak_mib"] if "driver_peak_mib" in row else LEVERET_WORKERS * row["worker_peak_mib"]
    parts = (workers, senders, row.get("broker_peak_mib"))
    return " / ".join("–" if part is None else short(part) for part in parts)


class Table:
    def __init__(self, rows):
        self.rows = results.Rows(rows)
        self.reasons = {}

    def cell(self, system, identity, compared_with):
        if identity is None:
            return "–"
        row = self.rows.get(identity)
        if row is None:
            why = self.rows.why(identity)
            if why == "not measured":
                return "–"
            self.reasons.setdefault(why, system)
            return "not measured"
        return figure(row, self.rows.get(compared_with))

    def line(self, system, noop, sequence, cold):
        baseline = WITH_RESULTS[1] if noop in WITH_RESULTS else "peers.celery.noop.no_results"
        large, larger = (cold + size if cold else None for size in ("1MB", "5MB"))
        found = {name: self.rows.get(name) if name else None for name in (noop, sequence, large, larger)}
        return (
            system,
            self.cell(system, noop, baseline),
            percentiles(found[noop]),
            self.cell(system, sequence, "peers.celery.sequence.chain"),
            percentiles(found[sequence]),
            self.cell(system, large, "peers.celery.cold.1MB"),
            traffic(found[large]),
            percentiles(found[large]),
            self.cell(system, larger, "peers.celery.cold.5MB"),
            traffic(found[larger]),
            peaks(found[large]),
        )

    def markdown(self):
        lines = [HEADING, ("---",) * len(HEADING)]
        lines += [self.line(*system) for system in SYSTEMS]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def page(report, settings):
    table = Table(report["rows"])
    body = table.markdown()
    missing = "".join(f"- {system}: not measured: {why}\n" for why, system in table.reasons.items())
    machine = "".join(f"- {name}: {value}\n" for name, value in report["machine"].items())
    used = "".join(f"- {name}: {text}\n" for name, text in settings)
    return (
        "# Leveret beside its peers\n\n"
        "Written by `make bench-peers`: the same work on the same private RabbitMQ, in one run. Medians, with the lowest and the\n"
        "highest sample in brackets. `benches/peers/README.md` says what each figure is and how to repeat it.\n\n"
        f"{body}\n{NOTES}{missing}\n## Settings\n\n{used}\n## Machine\n\n{machine}"
    )
