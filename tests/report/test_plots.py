"""Nothing that is drawn lies on anything else or leaves the picture, for any number of models, groups and decades."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from efface.evaluation.evidence import Evidence
from efface.report import plots


def evidence(models: int, groups: int, decades: int) -> Evidence:
    """Errors over so many decades of 300 faces, and an attacker's signals from -1000 to 1000."""
    draw, faces = np.random.default_rng(0), 300
    told: dict[str, Any] = {
        "models": np.array(["original", "reference", *(f"method {number}" for number in range(2, models))]),
        "split": np.array(["test", "forget", "strangers", "retain"])[np.arange(faces) % 4],
        "group": np.array([f"group {number}" for number in range(groups)])[np.arange(faces) // 4 % groups],
        "error": 10 ** draw.uniform(1 - decades, 1, (models, faces)),
        "signal": draw.uniform(-1000, 1000, (models, faces)),
        "attack": np.array(["loss"] * models),
        "membership_score": draw.normal(size=(models, faces)),
    }
    return Evidence(**{one.name: told.get(one.name, np.empty(0)) for one in fields(Evidence)})


def skewed(families: int) -> str:
    told = {f"family {number}": {"method": [(0.1, 0.05, 0.2), (123.4, 100, 150)]} for number in range(families)}
    return plots.against_skew([0.1, 0.9], told, "normalised error", 0.5)


def drifting(panels: int) -> str:
    told = {f"measure {number}": {"original": [0.00012, 0.00013], "finetune": [1, 2e6]} for number in range(panels)}
    return plots.drift([1, 2], told)


PLOTS: dict[str, Callable[[Evidence], str]] = {
    "errors": partial(plots.error_distributions, about="normalised error"),
    "signals": partial(plots.signal_distributions, about="log loss"),
    "receiver operating curves": plots.receiver_operating,
}
FIGURES: dict[str, Callable[[], str]] = {
    **{
        f"{name}, {models} models, {groups} groups, {decades} decades": partial(plot, evidence(models, groups, decades))
        for models, groups, decades in ((2, 1, 1), (4, 2, 2), (10, 7, 3), (5, 8, 6), (3, 3, 8))
        for name, plot in PLOTS.items()
    },
    **{f"skew, {count} families": partial(skewed, count) for count in (1, 3, 4)},
    **{f"drift, {count} measures": partial(drifting, count) for count in (1, 3, 5)},
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_lies_on_anything_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *arguments: Any, **settings: Any) -> None:
        save(figure, *arguments, **settings)
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", saved)
    FIGURES[name]()
    (figure,) = figures
    boxes = parts_of(figure)
    for part, box in boxes.items():
        assert figure.bbox.x0 - 1 <= box.x0, part
        assert box.x1 <= figure.bbox.x1 + 1, part
        assert figure.bbox.y0 - 1 <= box.y0, part
        assert box.y1 <= figure.bbox.y1 + 1, part
    for one, other in combinations(boxes, 2):
        shared = Bbox.intersection(boxes[one], boxes[other])
        assert shared is None or min(shared.width, shared.height) < 1, f"{one} lies on {other}"
    for axis in (one for one in figure.axes if one.get_visible()):
        low, high = axis.get_xlim()
        told = zip(axis.get_xticks(), axis.get_xticklabels(), strict=True)
        ticks = [text.get_window_extent() for place, text in told if low <= place <= high and text.get_text()]
        assert len(ticks) > 1
        assert all(left.x1 <= right.x0 for left, right in pairwise(ticks))


def parts_of(figure: Figure) -> dict[str, Bbox]:
    """The panels with their ticks and titles, the labels of the whole, and the legend; in pixels."""
    boxes = {f"'{one.get_text()}'": one.get_window_extent() for one in figure.texts if one.get_text()}
    boxes |= {f"legend {place}": one.get_window_extent() for place, one in enumerate(figure.legends)}
    for place, axis in enumerate(figure.axes):
        if (box := axis.get_tightbbox()) is not None and axis.get_visible():
            boxes[f"panel {place}"] = box
    return boxes
