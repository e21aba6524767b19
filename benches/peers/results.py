"""Figures: samples with their spread, percentiles, and the file that all measurements of this project share."""

import json
import math
import statistics

SCHEMA = 1


def percentile(sorted_values, share):
    """The value that `share` of all are not above."""
    rank = math.ceil(len(sorted_values) * share)
    return sorted_values[min(max(rank, 1), len(sorted_values)) - 1]


def rounded(figure):
    return float(f"{figure:.5g}")


def row(identity, what, unit, samples, **beside):
    """One figure; `beside` are others that were measured with it, each name with its unit."""
    figures = {
        "id": identity,
        "what": what,
        "unit": unit,
        "median": rounded(statistics.median(samples)),
        "low": rounded(min(samples)),
        "high": rounded(max(samples)),
        "samples": [rounded(sample) for sample in samples],
    }
    return figures | {name: rounded(figure) for name, figure in beside.items() if figure is not None}


def missing(identity, what, why):
    """A figure that there is none of, and why."""
    return {"id": identity, "what": what, "missing": why}


def latencies(milliseconds):
    ordered = sorted(milliseconds)
    return {"p50_ms": percentile(ordered, 0.50), "p99_ms": percentile(ordered, 0.99)}


def read(path):
    """The report in a file, or none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(path, machine, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"schema": SCHEMA, "machine": machine, "rows": rows}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class Rows:
    """Rows by their names."""

    def __init__(self, rows):
        self.rows = {row["id"]: row for row in rows}

    def get(self, identity):
        """The row, unless it is not there or has no figure."""
        found = self.rows.get(identity)
        return found if found and "median" in found else None

    def why(self, identity):
        """Why there is no figure."""
        return self.rows.get(identity, {}).get("missing", "not measured")

    def numbered(self, prefix):
        """Figures whose names end in a number or a size, as pairs of that number and the row, in order."""
        pairs = []
        for identity, found in self.rows.items():
            size = size_of(identity.removeprefix(prefix)) if identity.startswith(prefix) else None
            if size is not None and "median" in found:
                pairs.append((size, found))
        return sorted(pairs, key=lambda pair: pair[0])


def size_of(text):
    """1000 of `1000`, 1024 of `1KB`, nothing of anything else."""
    for suffix, factor in (("KB", 1 << 10), ("MB", 1 << 20), ("", 1)):
        number = text.removesuffix(suffix)
        if text.endswith(suffix) and number.isdigit():
            return int(number) * factor
    return None
