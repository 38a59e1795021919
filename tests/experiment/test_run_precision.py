"""What networks compute with is part of what a model is, and stands in what a run leaves."""

import json
from pathlib import Path

import pytest
import torch

from conftest import TINY
from efface.errors import InputError
from efface.experiment.arm import Arm, set_up
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.plan.file import read_plan
from efface.plan.tables import Plan
from efface.progress import Progress
from efface.results import Results
from efface.training import environment
from efface.training.environment import environment as machine_of

CPU = torch.device("cpu")


def plans(folder: Path, precision: str | None) -> dict[str, Plan]:
    """TINY with one seed, in this precision."""
    asked = "" if precision is None else f'precision = "{precision}"\n'
    (folder / "plan.toml").write_text(asked + TINY.replace("seeds = [0, 1]", "seeds = [0]"))
    return read_plan(folder / "plan.toml")


def arm(folder: Path, precision: str | None) -> Arm:
    (plan,) = plans(folder, precision).values()
    return set_up("", resolve(plan, "plan"), folder, CPU, machine_of(CPU, 1), Progress())


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with instructions for bf16, whatever this one has."""
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)


@pytest.mark.usefixtures("able")
def test_models_of_another_precision_are_others(tmp_path: Path) -> None:
    unsaid, wide, narrow, auto = (
        [stage.signature for stage in arm(tmp_path, one).models] for one in (None, "fp32", "bf16", "auto")
    )
    assert unsaid == wide, "what was made before anybody could say is not made again"
    assert auto == narrow, "and what auto comes to here counts, not the word"
    assert not set(wide) & set(narrow)


def test_fp32_adds_nothing_to_what_a_model_follows_from(tmp_path: Path) -> None:
    made = arm(tmp_path, "fp32").models[0].signature_inputs
    assert not {"fp32", "bf16"} & {one for one in made if isinstance(one, str)}


def saved(results: Results) -> str:
    rows = [row.model_dump(mode="json")["measures"] for row in results.evaluations]
    return json.dumps(rows)


@pytest.mark.usefixtures("able")
def test_a_run_in_bf16_measures_close_to_fp32_and_says_so(tmp_path: Path) -> None:
    found = {}
    for name, precision in (("unsaid", None), ("fp32", "fp32"), ("bf16", "bf16")):
        (tmp_path / name).mkdir()
        found[name] = run(plans(tmp_path / name, precision), tmp_path / name / "out", device="cpu", threads=1)
    assert saved(found["unsaid"]) == saved(found["fp32"]) != saved(found["bf16"])
    assert [found[name].requests[0].precision for name in found] == ["fp32", "fp32", "bf16"]
    assert "cpu, bf16, Python" in (tmp_path / "bf16" / "out" / "report.html").read_text(encoding="utf-8")
    assert "cpu, fp32, Python" in (tmp_path / "fp32" / "out" / "report.html").read_text(encoding="utf-8")
    for wide, narrow in zip(found["fp32"].summaries, found["bf16"].summaries, strict=True):
        assert wide.method == narrow.method
        errors = [key for key in wide.measures if key.family == "score" and key.metric == "mse"]
        assert errors
        for key in errors:
            assert narrow.measures[key].value == pytest.approx(wide.measures[key].value, rel=0.25)


def test_bf16_is_refused_before_any_work_where_the_machine_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: False)
    with pytest.raises(InputError, match="'cpu' here has none: take 'fp32' or 'auto'"):
        run(plans(tmp_path, "bf16"), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
    assert arm(tmp_path, "auto").store.precision == "fp32"


def test_a_plan_of_another_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision"):
        plans(tmp_path, "int8")
