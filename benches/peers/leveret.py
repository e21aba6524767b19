"""Leveret at the same pieces of work, by its own load generator on the same broker."""

import os
import subprocess

import processes
import results
from broker import ROOT

SECONDS_MAX = 300


def measure(broker, target, kinds, samples, folder, say):
    """The rows of those kinds, or one for each that says why there is none. What fails is tried once more, as for peers."""
    why = ""
    for attempt in ("first", "second"):
        try:
            return attempted(broker, target, kinds, samples, folder / f"leveret-{kinds[0]}-{attempt}", say)
        except (RuntimeError, OSError) as problem:
            why = str(problem)
            say(f"leveret {', '.join(kinds)}: the {attempt} attempt failed: {why}")
    return [results.missing(kind, "Leveret", why) for kind in kinds]


def attempted(broker, target, kinds, samples, folder, say):
    folder.mkdir()
    out, log = folder / "rows.json", folder / "log"
    command = [target / "release" / "endtoend", "--rows", ",".join(kinds), "--samples", str(samples)]
    command += ["--amqp", broker.url, "--broker-dir", broker.folder]
    command += ["--leveret", target / "release" / "leveret", "--json", out]
    process = processes.start(command, os.environ | {"RUST_BACKTRACE": "0"}, log, folder=ROOT)
    try:
        status = process.wait(SECONDS_MAX)
    except subprocess.TimeoutExpired as slow:
        raise RuntimeError(f"not done after {SECONDS_MAX} s") from slow
    finally:
        processes.stop(process)
    if status != 0:
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise RuntimeError(f"endtoend ended with {status}: {' '.join(words[-4:])}")
    rows = results.read(out)["rows"]
    for row in rows:
        say(f"leveret {row['id']}: {row['median']:.4g} {row.get('unit', '')}")
    return rows
