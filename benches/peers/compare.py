"""Measures the peers and Leveret on one private broker, and writes file, table and plots.

    compare.py --rust-peer PATH [--only PEER] [--stages noop,sequence] [--draw]

Started by `run`, which installs what is needed. Piece by piece and not peer by peer, so that what is compared is measured
close together; Leveret last in each, on a broker that the others have worn.
"""

import argparse
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import leveret
import machine
import measure
import peers
import plots
import results
import table
from broker import ROOT, Broker

# Pieces of work in their order, and which rows Leveret's own measurement gives for each.
STAGES = {"noop": ["noop", "queue"], "sequence": ["sequence"], "items": ["items"], "cold": ["cold"]}
# Of Leveret's rows here; `make bench` takes five.
SAMPLES = 3
DOCS = ROOT / "docs" / "benchmarks"


def say(text):
    print(f"peers: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def options():
    parser = argparse.ArgumentParser(description="Measures Leveret beside its peers.")
    parser.add_argument("--target", type=pathlib.Path, required=True, help="where the build has put its products")
    parser.add_argument("--rust-peer", type=pathlib.Path, required=True, help="the binary of the peer in Rust")
    parser.add_argument("--only", action="append", help="celery, dramatiq, rusty, leveret; all when absent")
    parser.add_argument("--stages", default=",".join(STAGES), help=f"of {', '.join(STAGES)}; all when absent")
    parser.add_argument("--docs", type=pathlib.Path, help="where table, plots and a copy of the file go")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, once: to see that all of it works")
    parser.add_argument("--draw", action="store_true", help="measure nothing: table and plots of what was measured last")
    chosen = parser.parse_args()
    # What was only tried must not stand where figures are looked for.
    chosen.name = "peers-quick" if chosen.quick else "peers"
    chosen.docs = chosen.docs or (chosen.target / "bench" / "peers-quick" if chosen.quick else DOCS)
    return chosen


def measured(options, folder):
    """Versions and rows."""
    wanted = [peer for peer in (peers.rusty(str(options.rust_peer)), peers.dramatiq(), peers.celery())]
    wanted = [peer for peer in wanted if not options.only or peer.identity in options.only]
    with_leveret = not options.only or "leveret" in options.only
    absent = {peer.identity: why for peer in wanted if (why := machine.why_absent(peer, options.target))}
    rows = []
    with Broker(folder / "broker") as broker:
        described = machine.describe(broker, [peer for peer in wanted if peer.identity not in absent])
        broker.rooms([peer.identity for peer in wanted])
        for stage in options.stages.split(","):
            for peer in wanted:
                for piece in peer.of_stage(stage, options.quick):
                    if peer.identity in absent:
                        rows.append(results.missing(piece.identity, piece.what, absent[peer.identity]))
                    else:
                        rows.append(measure.measure(broker, peer, piece, folder / piece.identity, say))
                        shutil.rmtree(folder / piece.identity)
            if with_leveret:
                samples = 1 if options.quick else SAMPLES
                rows.extend(leveret.measure(broker, options.target, STAGES[stage], samples, folder, say))
    return described, rows


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupted(number, _):
    """Ends in order. What comes after the first signal is not heard: it would disturb the stopping."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def main():
    chosen = options()
    for number in SIGNALS:
        signal.signal(number, interrupted)
    began = time.monotonic()
    file = chosen.target / "bench" / f"{chosen.name}.json"
    if not chosen.draw:
        with tempfile.TemporaryDirectory(prefix="leveret-peers.") as folder:
            described, rows = measured(chosen, pathlib.Path(folder))
        results.write(file, described, rows)
        say(f"measured in {time.monotonic() - began:.0f} s")
    report = results.read(file)
    if report is None:
        raise SystemExit(f"{file} is not there: nothing was measured yet")
    results.write(chosen.docs / "peers.json", report["machine"], report["rows"])
    text = table.page(report, peers.settings())
    (chosen.docs / "peers.md").write_text(text, encoding="utf-8")
    print(text)
    for note in plots.draw(report, results.read(chosen.target / "bench" / "micro.json"), chosen.docs):
        say(note)


if __name__ == "__main__":
    main()
