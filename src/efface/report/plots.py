"""Distributions as inline SVG: errors by group, and the losses of the forgotten beside strangers'."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from efface.data.faces import Array
from efface.evaluation.evidence import Evidence
from efface.report.strips import COLOURS
from efface.results import Search
from efface.tasks.attributes import in_order

MOST_IN_A_LINE = 6
"""How many names of a legend stand side by side."""

Span = tuple[float, float, float] | None

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def error_distributions(evidence: Evidence, about: str) -> str:
    """Share of test faces whose error is at most x: a panel per model, a line per group, the original thin behind."""
    from matplotlib.ticker import LogLocator

    test = (evidence.split == "test") & np.isfinite(evidence.error).all(0)
    groups = np.unique(evidence.group[test])
    floor = max(float(np.quantile(evidence.error[:, test], 0.005)), 1e-4)
    ceiling = float(np.quantile(evidence.error[:, test], 0.995))

    def draw(axis: Any, model: int) -> None:
        for place, group in enumerate(groups):
            rows = test & (evidence.group == group)
            colour = COLOURS[place % len(COLOURS)]
            axis.step(*_cumulative(evidence.error[0, rows]), color=colour, alpha=0.35, linewidth=1)
            axis.step(*_cumulative(evidence.error[model, rows]), color=colour, linewidth=1.8, label=group or "all")
        axis.set_xscale("log")
        axis.set_xlim(floor, ceiling)
        axis.set_ylim(0, 1)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3) if ceiling < 1000 * floor else (1,)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(lambda value, _: "")

    return _panels(evidence.models, draw, about, "share of test faces", same_height=True)


def signal_distributions(evidence: Evidence, about: str) -> str:
    """Histograms of the attacker's signal on the forgotten and on strangers of the same groups, and as a line on the
    retained: a panel per model."""
    forgotten = evidence.split == "forget"
    strangers = (evidence.split == "strangers") & np.isin(evidence.group, np.unique(evidence.group[forgotten]))
    known = np.isfinite(evidence.signal).all(0)
    forgotten, strangers = forgotten & known, strangers & known
    retained = (evidence.split == "retain") & known
    seen = evidence.signal[:, forgotten | strangers]
    lowest, highest = np.quantile(seen, [0.002, 0.998])
    bins = np.linspace(lowest, highest if highest > lowest else lowest + 1, 31)
    shown = np.clip(evidence.signal, bins[0], bins[-1])

    def draw(axis: Any, model: int) -> None:
        for rows, colour, label in ((strangers, "#888888", "strangers"), (forgotten, COLOURS[1], "forgotten")):
            axis.hist(shown[model, rows], bins, density=True, histtype="stepfilled", alpha=0.35, color=colour)
            axis.hist(
                shown[model, rows],
                bins,
                density=True,
                histtype="step",
                color=colour,
                linewidth=1.5,
                label=label,
            )
        axis.hist(
            shown[model, retained],
            bins,
            density=True,
            histtype="step",
            color=COLOURS[2],
            linewidth=1.2,
            linestyle="--",
            label="retained",
        )
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)

    return _panels(evidence.models, draw, f"{about} (left: treated as known)", "faces", same_height=False)


def receiver_operating(evidence: Evidence, most: int = 8) -> str:
    """The strongest attack's ROC on logarithmic axes, where the few who are surely caught show: two panels of at most
    so many models, original and reference in both."""
    shown = list(range(min(len(evidence.models), most)))
    panels = [shown] if len(shown) <= 5 else [[0, 1, *shown[2:5]], [0, 1, *shown[5:]]]
    forgotten, strangers = evidence.split == "forget", evidence.split == "strangers"

    def draw(axis: Any, place: int) -> None:
        axis.plot([1e-3, 1], [1e-3, 1], color="#aaaaaa", linewidth=1, linestyle=":")
        for model in panels[place]:
            ours, theirs = (
                np.sort(evidence.membership_score[model, rows & np.isfinite(evidence.membership_score[model])])
                for rows in (forgotten, strangers)
            )
            if not len(ours) or not len(theirs):
                continue
            cuts = np.unique(np.concatenate([ours, theirs]))
            wrong, caught = (1 - np.searchsorted(side, cuts, "left") / len(side) for side in (theirs, ours))
            name = str(evidence.models[model])
            axis.step(
                np.maximum(wrong, 1e-3),
                np.maximum(caught, 1e-3),
                where="post",
                linewidth=1.6,
                label=f"{name} ({evidence.attack[model]})",
                color="#222222"
                if model == 0
                else COLOURS[2]
                if model == 1
                else [COLOURS[place] for place in (0, 1, 3, 4, 5, 6)][(model - 2) % 6],
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(1e-3, 1)
        axis.set_ylim(1e-3, 1)
        axis.minorticks_off()
        axis.legend(fontsize=7, frameon=False, loc="lower right")

    return _panels(
        np.array([""] * len(panels)),
        draw,
        "strangers wrongly accused",
        "forgotten caught",
        same_height=True,
        width=4.4,
        height=3.4,
        legend=False,
    )


def against_skew(
    skews: Sequence[float],
    told: Mapping[str, Mapping[str, Sequence[Span]]],
    label: str,
    baseline: float,
) -> str:
    """A panel per family of methods, a line per method over the skew of the request, with intervals; the retrained
    reference pale in each. told: family to method to a (value, low, high) per skew; the reference stands first.
    """
    families = list(told)
    yardstick = next(iter(told[families[0]].values()))

    def line(axis: Any, spans: Sequence[Span], shift: float, **style: Any) -> None:
        points = [(100 * skew + shift, *span) for skew, span in zip(skews, spans, strict=True) if span is not None]
        if not points:
            return
        places, values, lows, highs = np.array(points).T
        axis.plot(places, values, marker="o", markersize=4, **style)
        axis.vlines(places, lows, highs, color=style["color"], linewidth=1, alpha=0.6)

    def draw(axis: Any, place: int) -> None:
        axis.axhline(baseline, color="#aaaaaa", linewidth=1, linestyle=":")
        if place:
            line(axis, yardstick, 0, color="#999999", linewidth=4, alpha=0.4, label="retrained")
        for number, (name, spans) in enumerate(told[families[place]].items()):
            line(
                axis,
                spans,
                1.2 * (number + bool(place)),
                linewidth=1.6,
                label=name,
                color=COLOURS[number % len(COLOURS)],
            )
        axis.set_xticks([100 * skew for skew in skews])
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}%")
        axis.legend(fontsize=7, frameon=False)

    return _panels(
        np.array(families),
        draw,
        "share of the forgotten who are of the group",
        label,
        same_height=True,
        height=2.6,
        legend=False,
    )


def memorisation(curves: Mapping[str, Mapping[str, Span]]) -> str:
    """How well each layer's neighbours tell who was trained on. curves: model to layer to (value, low, high)."""
    layers = list(next(iter(curves.values())))

    def draw(axis: Any, _place: int) -> None:
        axis.axhline(0.5, color="#aaaaaa", linewidth=1, linestyle=":")
        for number, (model, spans) in enumerate(curves.items()):
            points = [(place + 0.06 * number, *span) for place, span in enumerate(spans.values()) if span is not None]
            if points:
                places, values, lows, highs = np.array(points).T
                colour = ("#222222", COLOURS[2])[number % 2]
                axis.plot(places, values, marker="o", color=colour, linewidth=1.6, label=model)
                axis.vlines(places, lows, highs, color=colour, linewidth=1, alpha=0.6)
        axis.set_xticks(range(len(layers)), layers)
        axis.legend(fontsize=8, frameon=False)

    return _panels(
        np.array([""]),
        draw,
        "features by which the neighbours are found, early to late",
        "AUC, forgotten against val",
        same_height=True,
        width=5.2,
        height=2.6,
        legend=False,
        measured=True,
    )


def trade_off(searches: Sequence[Search], what: str) -> str:
    """What each candidate of a search left of the attack, and how its worst group fares: a panel per search; filled is
    what was chosen, pale what was not kept. The line joins those that no other beats in both."""

    def draw(axis: Any, place: int) -> None:
        tried = [one for one in searches[place].tried if one.attack is not None]
        axis.axvline(0.5, color="#aaaaaa", linewidth=1, linestyle=":")
        points = [(float(one.attack or 0), float(one.worst_error or 0)) for one in tried]
        front = sorted(
            (attack, error)
            for attack, error in points
            if not any(worse < error and abs(other - 0.5) < abs(attack - 0.5) for other, worse in points)
        )
        axis.plot(*zip(*front, strict=True), color="#bbbbbb", linewidth=1)
        for one in tried:
            colour = COLOURS[0] if one.kept else "#aaaaaa"
            axis.plot([one.attack_low, one.attack_high], [one.worst_error] * 2, color=colour, linewidth=1, alpha=0.5)
            axis.plot(
                [one.attack],
                [one.worst_error],
                "o",
                color=colour,
                markersize=6,
                markerfacecolor=colour if one.chosen else "white",
            )
            said = ", ".join(
                f"{name} {value:g}" if isinstance(value, (int, float)) else f"{name} {value}"
                for name, value in one.settings.items()
            )
            axis.annotate(said, (one.attack, one.worst_error), xytext=(5, 4), textcoords="offset points", fontsize=7)

    titles = [f"{search.method}, seed {search.seed}" for search in searches]
    return _panels(
        np.array(titles),
        draw,
        "attack AUC on the forgotten, against validation people",
        f"{what}, worst group",
        same_height=False,
        width=3.1 if len(titles) > 2 else 4.4,
        height=2.6,
        legend=False,
        measured=True,
    )


def losses_by_class(evidence: Evidence, shown: int = 120, seed: int = 0) -> str:
    """Losses of the forgotten beside those of strangers, class by class: a panel per model, at most so many points of
    each class and side, a bar at each median (as PIU-FR's figures 2 to 4)."""
    sides = (("strangers", "#888888", -0.2), ("forget", COLOURS[1], 0.2))
    rows = {split: np.flatnonzero(evidence.split == split) for split, _, _ in sides}
    names = in_order(np.unique(evidence.label[np.concatenate(list(rows.values()))]).tolist())
    top = float(np.quantile(evidence.error[:, np.concatenate(list(rows.values()))], 0.99))
    rng = np.random.default_rng(seed)

    def draw(axis: Any, model: int) -> None:
        for split, colour, shift in sides:
            for place, name in enumerate(names):
                losses = evidence.error[model, rows[split][evidence.label[rows[split]] == name]]
                if not len(losses):
                    continue
                some = rng.permutation(losses)[:shown]
                axis.scatter(
                    place + shift + rng.uniform(-0.14, 0.14, len(some)),
                    some,
                    s=2,
                    color=colour,
                    alpha=0.5,
                    linewidths=0,
                    rasterized=True,
                )
                axis.hlines(np.median(losses), place + shift - 0.17, place + shift + 0.17, color=colour, linewidth=2)
            axis.plot([], [], color=colour, linewidth=2, label="forgotten" if split == "forget" else split)
        axis.set_ylim(0, top)
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=7)

    return _panels(evidence.models, draw, "", "loss", same_height=True, measured=True)


def drift(rounds: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """A panel per measure, a line per model over the rounds of a request. panels: title to model to values."""

    def draw(axis: Any, place: int) -> None:
        for number, (model, values) in enumerate(panels[titles[place]].items()):
            known = [np.nan if value is None else value for value in values]
            axis.plot(
                rounds,
                known,
                marker="o",
                markersize=3,
                linewidth=1.5,
                label=model,
                color="#222222" if model == "original" else COLOURS[number % len(COLOURS)],
                linestyle=("-", "--", ":")[number // len(COLOURS) % 3],
            )
        axis.set_xticks(rounds)

    titles = list(panels)
    return _panels(np.array(titles), draw, "round", "", same_height=False, measured=True)


def _cumulative(values: Array) -> tuple[Array, Array]:
    ordered = np.sort(values)
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


def _panels(
    models: Array,
    draw: Callable[[Any, int], None],
    x_label: str,
    y_label: str,
    same_height: bool,
    *,
    width: float = 3.1,
    height: float = 2.1,
    legend: bool = True,
    measured: bool = False,
) -> str:
    """A panel per model, three in a row, one legend unless each has its own.

    Margins are given, for ticks of few digits; for ticks and notes of any length they are `measured`, which takes as
    long again as drawing.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    with mpl.rc_context({**STYLE, "svg.hashsalt": x_label}):
        figure = Figure(figsize=(width * columns, height * rows + 0.4), layout="constrained" if measured else None)
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, columns, sharex=True, sharey=same_height, squeeze=False)
        for place, axis in enumerate(axes.flat):
            if place >= len(models):
                axis.set_visible(False)
                continue
            draw(axis, place)
            axis.set_title(str(models[place]), fontsize=10)
            axis.tick_params(labelbottom=True)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        if legend:
            figure.legend(
                handles,
                labels,
                loc="outside upper center" if measured else "upper center",
                ncols=min(len(labels), MOST_IN_A_LINE),
                frameon=False,
            )
        if x_label:
            figure.supxlabel(x_label, fontsize=10)
        figure.supylabel(y_label, fontsize=10)
        if not measured:
            lines = -(-len(labels) // MOST_IN_A_LINE) if legend else 0
            _margins(figure, rows, columns, lines, between=0.35 if same_height else 0.5)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def _margins(figure: Any, rows: int, columns: int, lines: int, *, between: float) -> None:
    """Give room for titles, ticks of few digits, labels, and so many lines of a legend; in inches."""
    width, height = figure.get_size_inches()
    left, right, bottom, top, title_and_ticks = 0.8, 0.12, 0.55, 0.3 + 0.22 * lines, 0.58
    wide = (width - left - right - between * (columns - 1)) / columns
    high = (height - bottom - top - title_and_ticks * (rows - 1)) / rows
    figure.subplots_adjust(
        left=left / width,
        right=1 - right / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=between / wide,
        hspace=title_and_ticks / high,
    )


def _inline(svg: str) -> str:
    """The drawing alone, as wide as the page lets it be, in the page's fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 sans-serif", svg)
