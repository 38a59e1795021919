"""The whole instrument on known truth: the renderer decides how far the groups are apart, the report must see it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import consistent_with, key
from efface.experiment.run import run
from efface.measure_key import MeasureKey
from efface.plan.file import parse_plan
from efface.results import MeasureRecord

CHAIN = {
    "forgotten": {"use": "neggrad_plus", "alpha": 0.8},
    "rebalanced": {"use": "rebalance", "after": "forgotten"},
}


def measured(distance: float, out: Path) -> Mapping[str, Mapping[MeasureKey, MeasureRecord]]:
    """Measures over three training seeds, by row."""
    plan = {
        "task": "eyes",
        "goal": "influence removed",
        "seeds": [0, 1, 2],
        "data": {"name": "synthetic", "people": 700, "photos_per_person": 4, "size": [32, 32], "distance": distance},
        "split": {"public": 0.05, "val": 0.05, "strangers": 0.15, "test": 0.25},
        "forget": {"group": "B", "share": 0.8},
        "model": {"name": "eyenet"},
        "train": {"epochs": 14},
        "methods": CHAIN,
    }
    results = run({"": parse_plan(plan, "plan")}, out)
    return {one.method: one.measures for one in results.summaries}


def span(record: MeasureRecord) -> tuple[float, float]:
    assert record.low is not None
    assert record.high is not None
    return record.low, record.high


POINTS = key("disparity_points/normalised_error/against original")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_groups_that_differ_pay_differently_and_rebalancing_recovers_part(tmp_path: Path) -> None:
    rows = measured(1.0, tmp_path)
    for name in ("reference", "forgotten"):
        assert span(rows[name][POINTS])[0] > 0, f"forgetting B costs B more: {name}"
    assert span(rows["rebalanced"][key("increase/normalised_error/against stage before/B")])[1] < 0, (
        "and part comes back"
    )
    assert span(rows["original"][key("membership/auc/photo")])[0] > 0.5, "there was something to forget"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_groups_that_do_not_differ_pay_alike(tmp_path: Path) -> None:
    rows = measured(0.0, tmp_path)
    for name in ("reference", "forgotten", "rebalanced"):
        found = rows[name][POINTS].span
        assert found is not None, name
        assert consistent_with(0.0, found), (name, found)
