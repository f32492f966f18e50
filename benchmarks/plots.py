"""The plots of a run, from its results. PNG, made to be read beside the tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _DPI = 8.0, 4.6, 120
_OURS = "#c1121f"
_OTHERS = ("#1d3557", "#457b9d", "#2a9d8f", "#8d99ae", "#6a4c93", "#f4a261", "#606c38", "#bc6c25")
_STYLES = {"floor": "black", "durable": _OURS, "durable_external": "#e76f51"}
_LEFT_OUT = ("floor_power", "durable_power", "persist_queue_full")
"""Those that wait for the disk are another league, and would make the others unreadable."""


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write a file for each plot that the results have figures for; return them."""
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    for (scenario, series), (name, make) in _PLOTS.items():
        points = results["scenarios"].get(scenario, {}).get("series", {}).get(series)
        if points:
            path = folder / f"{name}.png"
            _draw(make, points, path)
            written.append(path)
    return written


def _draw(make: Callable[[Any, Any], None], points: object, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(_WIDTH, _HEIGHT))
    make(axes, points)
    axes.grid(visible=True, which="major", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    # No creation time, no version: the same results make the same file.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    plt.close(figure)


def _latency(axes: Any, series: list[dict[str, Any]]) -> None:  # noqa: ANN401  # matplotlib
    """Draw percentiles by their number of nines: the tail is where clients differ."""
    longest = 0.0
    for entry, colour in _coloured([entry for entry in series if entry["name"] not in _LEFT_OUT]):
        nines = [-math.log10(1 - percentile / 100) for percentile, _ in entry["curve"]]
        longest = max(longest, *nines)
        width = 2.4 if entry["name"].startswith("durable") else 1.4
        axes.plot(nines, [value for _, value in entry["curve"]], label=entry["label"], color=colour, linewidth=width)
    axes.set_yscale("log")
    ticks = {0.30103: "50%", 1.0: "90%", 2.0: "99%", 3.0: "99.9%", 4.0: "99.99%"}
    shown = {at: text for at, text in ticks.items() if at <= longest}
    axes.set_xticks(list(shown), list(shown.values()))
    axes.set_xlabel("calls that took no longer")
    axes.set_ylabel("latency, µs")
    axes.legend(fontsize=8, ncols=2, frameon=False, loc="upper left")
    axes.set_ylim(top=axes.get_ylim()[1] * 10)  # room for the legend


def _burst(axes: Any, series: list[dict[str, Any]]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("Latency of a call, a burst from the first event on")
    _latency(axes, series)


def _paced(axes: Any, series: list[dict[str, Any]]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("Latency of a call, 1,000 a second, delays of late calls included")
    _latency(axes, series)


def _workers(axes: Any, series: list[dict[str, Any]]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("Workers on one queue")
    for entry, colour in _coloured(series):
        workers, rates = zip(*entry["points"], strict=True)
        axes.plot(workers, rates, "o-", label=entry["label"], color=colour)
        axes.set_xticks(workers, [str(each) for each in workers])
    axes.set_yscale("log")
    axes.set_xlabel("processes")
    axes.set_ylabel("events a second, of all together")
    axes.legend(fontsize=8, frameon=False)


def _drain(axes: Any, series: list[dict[str, Any]]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("Drain by an external flusher")
    for entry, colour in zip(series, (_OURS, *_OTHERS), strict=False):
        backlog, rates = zip(*entry["points"], strict=True)
        axes.plot(backlog, rates, "o-", label=entry["label"], color=colour)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("events pending")
    axes.set_ylabel("events a second")
    axes.legend(frameon=False)


def _memory(axes: Any, series: dict[str, Any]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("Memory of the flusher")
    backlog, memory = zip(*series["points"], strict=True)
    axes.plot(backlog, memory, "o-", label="peak while draining", color=_OURS)
    axes.axhline(series["idle"], label="idle", color="black", linestyle="--")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("events pending")
    axes.set_ylabel("MB")
    axes.legend(frameon=False)


def _fleet(axes: Any, series: dict[str, list[tuple[int, int]]]) -> None:  # noqa: ANN401  # matplotlib
    axes.set_title("1,000 hosts, an hour without Lotus; all hosts are replaced meanwhile")
    for (label, points), colour in zip(series.items(), (_OTHERS[0], _OURS, _OTHERS[1], "#e76f51"), strict=False):
        seconds, pending = zip(*points, strict=True)
        axes.plot([each / 60 for each in seconds], pending, label=label, color=colour)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("minutes")
    axes.set_ylabel("events that are not at Lotus")
    axes.legend(frameon=False)


def _coloured(series: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    others = iter(_OTHERS)
    return [(entry, _STYLES.get(entry["name"]) or next(others, "gray")) for entry in series]


_PLOTS: dict[tuple[str, str], tuple[str, Callable[[Any, Any], None]]] = {
    ("calls", "first"): ("latency-burst", _burst),
    ("calls", "steady"): ("latency-paced", _paced),
    ("workers", "throughput"): ("workers", _workers),
    ("drain", "rate"): ("drain", _drain),
    ("drain", "memory"): ("memory", _memory),
    ("fleet", "outage"): ("fleet-outage", _fleet),
}
