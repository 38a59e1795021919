"""Every plan in the repository can be run: names, settings and stages are all known, to other processes too."""

import json
from pathlib import Path

import pytest

from conftest import ROOT
from efface.experiment.resolve import resolve
from efface.plan.file import parse_plan, plain_plan, read_plan

PLANS = [*sorted((ROOT / "plans").rglob("*.toml")), *sorted((ROOT / "src").rglob("*.toml"))]


def test_there_are_plans() -> None:
    assert {"eyes.toml", "demo.toml", "eyes_bioid_gpu.toml"} <= {plan.name for plan in PLANS}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_a_plan_can_be_run(path: Path) -> None:
    for name, plan in read_plan(path).items():
        assert resolve(plan, name).stages


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_another_process_reads_the_same_plan(path: Path) -> None:
    for name, plan in read_plan(path).items():
        assert parse_plan(json.loads(json.dumps(plain_plan(plan))), name) == plan
