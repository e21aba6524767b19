"""Leveret at the same pieces of work, by its own load generator on the same broker."""

import os
import subprocess

import processes
import results
from broker import ROOT

SECONDS_MAX = 300


def measure(broker, target, kinds, samples, folder, say):
    """The rows of those kinds, or one for each that says why there is none."""
    program = target / "release" / "endtoend"
    if not program.exists():
        return refusal(kinds, "target/release/endtoend is not there", say)
    out = folder / f"leveret-{kinds[0]}.json"
    command = [program, "--rows", ",".join(kinds), "--amqp", broker.url, "--broker-dir", broker.folder]
    command += ["--leveret", target / "release" / "leveret", "--json", out, "--samples", str(samples)]
    log = folder / "leveret.log"
    process = processes.start(command, dict(os.environ), log, folder=ROOT)
    try:
        status = process.wait(SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return refusal(kinds, f"not done after {SECONDS_MAX} s", say)
    finally:
        processes.stop(process)
    if status != 0:
        words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return refusal(kinds, f"endtoend ended with {status}: {' '.join(words[-3:])}", say)
    rows = results.read(out)["rows"]
    for row in rows:
        say(f"leveret {row['id']}: {row['median']:.4g} {row.get('unit', '')}")
    return rows


def refusal(kinds, why, say):
    say(f"leveret {', '.join(kinds)}: no figure: {why}")
    return [results.missing(kind, "Leveret", why) for kind in kinds]
