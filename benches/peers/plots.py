"""The plots, as SVG. The same figures give the same bytes: no dates, no random names."""

import math

import results

BLUE, ORANGE, GREEN = "#0b5fa5", "#c2560c", "#2a7f3f"
INK = "#1c1c1c"


def draw(report, micro, folder):
    """Draws what there are figures for; returns what is to be said about the rest."""
    try:
        import matplotlib
    except ImportError as missing:
        return [f"no plots: {missing}"]
    matplotlib.use("svg")
    # White behind, whatever page they stand on; letters as paths, as no page has the same fonts.
    matplotlib.rcParams.update({
        "svg.hashsalt": "leveret",
        "svg.fonttype": "path",
        "font.size": 11,
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": "#777777",
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    })
    notes = []
    rows = results.Rows(report["rows"])
    by_context(rows, results.Rows(micro["rows"]) if micro else None, folder / "context.svg", notes)
    by_items(rows, folder / "items.svg", notes)
    return notes


def by_context(rows, micro, path, notes):
    """Time per item against the size of the context."""
    lines = []
    for name, prefix, colour, mark in (("Celery", "peers.celery.cold.", ORANGE, "s"), ("Leveret", "cold.", BLUE, "o")):
        points = [(size, row["median"] / 1_000, row["low"] / 1_000, row["high"] / 1_000) for size, row in rows.numbered(prefix)]
        lines.append((f"{name}, end to end", colour, mark, points))
    found = micro.numbered("seed.item.") if micro else []
    points = [(size, row["median"] / 1e9, row["low"] / 1e9, row["high"] / 1e9) for size, row in found]
    lines.append(("the seed's design, render alone", GREEN, "^", points))
    figure, axes = plot(lines, path, notes)
    if figure is None:
        return
    axes.set_xlabel("size of the shared context")
    axes.set_ylabel("time per item")
    axes.set_title("1,000 items that share a context", loc="left", fontweight="bold")
    sizes = [(1 << 10, "1 KB"), (10 << 10, "10 KB"), (100 << 10, "100 KB"), (1 << 20, "1 MB"), (5 << 20, "5 MB")]
    ticks(axes.xaxis, sizes)
    ticks(axes.yaxis, [(1e-6, "1 µs"), (1e-5, "10 µs"), (1e-4, "0.1 ms"), (1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "100 ms")])
    save(figure, path)


def by_items(rows, path, notes):
    """Items per second against the number of items."""
    lines = []
    for name, prefix, colour, mark in (("Celery, no results", "peers.celery.items.", ORANGE, "s"), ("Leveret", "items.", BLUE, "o")):
        found = rows.numbered(prefix)
        points = [(count, count / row["median"], count / row["high"], count / row["low"]) for count, row in found]
        twenty_thousand = rows.get("peers.celery.noop.no_results")
        if points and twenty_thousand and name != "Leveret":
            points.append((20_000, *(twenty_thousand[figure] for figure in ("median", "low", "high"))))
        lines.append((name, colour, mark, points))
    figure, axes = plot(lines, path, notes)
    if figure is None:
        return
    axes.set_xlabel("items")
    axes.set_ylabel("items per second")
    axes.set_title("Items that do nothing", loc="left", fontweight="bold")
    ticks(axes.xaxis, [(100, "100"), (1_000, "1,000"), (10_000, "10,000"), (100_000, "100,000")])
    ticks(axes.yaxis, [(10**power, f"{10**power:,}") for power in range(1, 7)])
    save(figure, path)


def plot(lines, path, notes):
    """Lines with their spread on logarithmic axes, each named at its end."""
    from matplotlib.figure import Figure

    for name, _, _, points in lines:
        if not points:
            notes.append(f"{path.name} has no line for {name}: there are no figures of it")
    lines = [line for line in lines if line[3]]
    if not lines:
        return None, None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    for name, colour, mark, points in lines:
        across, middle, low, high = zip(*points, strict=True)
        axes.plot(across, middle, color=colour, marker=mark, linewidth=2, markersize=6, label=name)
        axes.fill_between(across, low, high, color=colour, alpha=0.15, linewidth=0)
    lowest = min(point[2] for *_, points in lines for point in points)
    highest = max(point[3] for *_, points in lines for point in points)
    axes.set_ylim(10 ** math.floor(math.log10(lowest)), 10 ** math.ceil(math.log10(highest)))
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.legend(frameon=False, loc="best")
    return figure, axes


def ticks(axis, places):
    """Ticks within what is shown, and half a decade round it."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = axis.get_view_interval()
    places = [place for place in places if low / 3 <= place[0] <= high * 3]
    axis.set_major_locator(FixedLocator([at for at, _ in places]))
    axis.set_major_formatter(FixedFormatter([text for _, text in places]))
    axis.set_minor_locator(NullLocator())


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
