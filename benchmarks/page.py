"""The page of all figures: first where a peer is faster, then a chart and a table per question."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

# Distinguishable without colour: a marker and a line style for each.
STYLES = {
    "zarrstore": ("o", "-", "#0b5394", 2.4),
    "zarrstore, s3fs": ("o", "--", "#0b5394", 1.6),
    "zarr-python": ("s", "--", "#a64d00", 1.2),
    "zarr-python, s3fs": ("s", ":", "#a64d00", 1.2),
    "obstore": ("^", "-.", "#38761d", 1.2),
    "tensorstore": ("D", ":", "#741b47", 1.2),
    "fsspec": ("v", "--", "#7f6000", 1.2),
    "icechunk": ("P", "-.", "#134f5c", 1.2),
    "bare calls": ("x", ":", "#000000", 1.0),
    "zipfile": ("*", ":", "#444444", 1.0),
}
# Not peers, but the machine's limits.
LIMITS = ("bare calls",)


def write(path, found):
    """Write the page, and its charts beside it.

    Parameters
    ----------
    path : Path
        The page.
    found : dict
        ``figures`` has the results of `measure` for all rows, ``machine`` where they were measured.
    """
    figures = found["figures"]
    charts = path.parent / path.stem
    charts.mkdir(exist_ok=True)
    for old in charts.glob("*.svg"):
        old.unlink()
    questions = {}
    for figure in figures:
        questions.setdefault(figure["question"], []).append(figure)
    lines = [*_head(found["machine"]), "", *_faster(figures), "", *_growth(questions)]
    for number, (question, rows) in enumerate(questions.items()):
        name = f"{number:02}-{_plain(question)}.svg"
        _draw(charts / name, question, rows)
        lines += ["", f"## {question[0].upper()}{question[1:]}", "", f"![{question}]({path.stem}/{name})", ""]
        lines += _table(rows)
    Path(path).write_text("\n".join(lines) + "\n")


_HEAD = """\
# All figures

One run of `python -m benchmarks`, which does the same work with each library in turn, in one process and on
the same data. Figures are medians; what is counted stands above each table. In round brackets stands how
many times our time a library takes, by the median of the rounds' ratios. A dash means that a library has no
such call. *Bare calls* are system calls in a Python loop, one after another: the least that can be done
from Python.

{machine}.
"""


def _head(machine):
    return _HEAD.format(machine=describe(machine)).splitlines()


def add_options(parser):
    """Add to a parser what becomes of the figures."""
    parser.add_argument("--json", type=Path, help="keep the figures there")
    parser.add_argument("--page", type=Path, help="write the page there, and its charts beside it")
    parser.add_argument("--from", dest="source", type=Path, help="take the figures from there")


def make(options, run, write):
    """Run, or read figures that were kept; keep them, and write the page of them."""
    found = json.loads(options.source.read_text()) if options.source else run(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if options.page:
        write(options.page, found)


def describe(machine, libraries=None):
    """Say in a line what figures were taken on, and with which libraries: by default all but ours."""
    names = [name for name in libraries or machine["versions"] if name != "zarrstore"]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in names)
    size = machine["memory"] >> 30
    return (
        f"{machine['cores']} cores, {size} GiB, {machine['system']}, Python {machine['python']}; {versions}"
    )


def _faster(figures):
    """List the rows in which a peer is certainly faster."""
    rows = [
        figure
        for figure in figures
        if figure["peer"] not in (*LIMITS, "zarrstore", "zarrstore, s3fs") and figure.get("high", 1) < 1
    ]
    if not rows:
        return ["## Where a peer is faster", "", "In no row of this run."]
    lines = [
        "## Where a peer is faster",
        "",
        "Rows in which the whole interval of the ratios is below 1:",
        "",
    ]
    lines += ["| question | row | library | its time / ours |", "|---|---|---|---|"]
    for figure in sorted(rows, key=lambda figure: figure["ratio"]):
        span = f"{figure['ratio']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"
        lines.append(f"| {figure['question']} | {figure['row']} | {figure['peer']} | {span} |")
    return lines


_AMOUNT = re.compile(r"([\d,]*\d) (\w+)(.*)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}


def _amounts(rows):
    """Return (amount, row) of the rows whose labels begin with an amount of the first one's kind."""
    found = [(match, row) for row in rows if (match := _AMOUNT.fullmatch(row))]
    return [
        (int(match[1].replace(",", "")) * _UNITS.get(match[2], 1), row)
        for match, row in found
        if match[3] == found[0][0][3]
    ]


def _growth(questions):
    """List how time grows with the amounts in a question's rows: 0 is not at all, 1 in proportion."""
    lines = [
        "## How time grows",
        "",
        "From a question's first row to its last one, time grows as this power of size, keys, threads or",
        "values in flight. 0 means that it stays the same, 1 that twice as much takes twice as long.",
        "",
    ]
    cells = []
    for question, figures in questions.items():
        times = {(figure["row"], figure["peer"]): figure["median"] for figure in figures}
        amounts = _amounts(dict.fromkeys(row for row, _ in times))
        if len(amounts) < 2:
            continue
        (least, first), (most, last) = amounts[0], amounts[-1]
        growth = [
            f"{peer} {math.log(times[last, peer] / times[first, peer]) / math.log(most / least):.2f}"
            for peer in dict.fromkeys(peer for _, peer in times)
            if (first, peer) in times and (last, peer) in times
        ]
        cells.append(f"| {question} | {first} to {last} | {', '.join(growth)} |")
    return [*lines, "| question | from, to | power |", "|---|---|---|", *cells]


def _table(rows):
    labels = list(dict.fromkeys(row["row"] for row in rows))
    peers = list(dict.fromkeys(row["peer"] for row in rows))
    by_place = {(row["row"], row["peer"]): row for row in rows}
    lines = [
        f"{rows[0]['unit'][0].replace('u', 'µ')}{rows[0]['unit'][1:]}; processor time and memory are ours.",
        "",
    ]
    asked = any("requests" in row for row in rows)
    lines += [f"| | {' | '.join(peers)} | CPU | memory |{' requests |' * asked}"]
    lines += ["|---" * (len(peers) + 3 + asked) + "|"]
    for label in labels:
        cells = []
        for peer in peers:
            row = by_place.get((label, peer))
            if row is None:
                cells.append("-")
                continue
            ratio = f" ({row['ratio']:.2f})" if "ratio" in row and peer != "zarrstore" else ""
            cells.append(f"{rounded(row['median'])}{ratio}")
        ours = by_place.get((label, "zarrstore"))
        cells += [rounded(ours["cpu"]), f"{ours['memory'] / 1e6:.1f} MB"] if ours else ["-", "-"]
        if asked:
            sent = (by_place[label, peer] for peer in peers if (label, peer) in by_place)
            cells.append(", ".join(f"{row['peer']} {row['requests']:.2f}" for row in sent))
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def rounded(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _plain(text):
    return (
        "".join(letter if letter.isalnum() else "-" for letter in text.lower()).strip("-").replace("--", "-")
    )


def pyplot():
    """Return matplotlib's module, set up for small files that a second run makes the same."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "zarrstore"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text as text, for half the size
    import matplotlib.pyplot as plt

    return plt


def _draw(path, question, rows):
    plt = pyplot()
    labels = list(dict.fromkeys(row["row"] for row in rows))
    figure, axis = plt.subplots(figsize=(8, 4))
    for peer in dict.fromkeys(row["peer"] for row in rows):
        marker, line, colour, width = STYLES[peer]
        found = {row["row"]: row["median"] for row in rows if row["peer"] == peer}
        places = [number for number, label in enumerate(labels) if label in found]
        axis.plot(
            places, [found[labels[place]] for place in places],
            marker=marker, linestyle=line, color=colour, linewidth=width, label=peer,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xticks(range(len(labels)), labels)
    axis.set_ylabel(rows[0]["unit"].replace("us", "µs", 1))
    axis.set_title(question, loc="left", fontsize=11)
    axis.grid(axis="y", linewidth=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
