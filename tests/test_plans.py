"""Every plan in the repository can be run: names, settings and stages are all known."""

from pathlib import Path

import pytest

from efface.bind import bind
from efface.planfile import read_plan

ROOT = Path(__file__).parents[1]
PLANS = [*sorted((ROOT / "plans").rglob("*.toml")), *sorted((ROOT / "src").rglob("*.toml"))]


def test_there_are_plans() -> None:
    assert {"eyes.toml", "demo.toml", "eyes_bioid_gpu.toml"} <= {plan.name for plan in PLANS}


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.name)
def test_a_plan_can_be_run(path: Path) -> None:
    for name, plan in read_plan(path).items():
        assert bind(plan, name).stages
