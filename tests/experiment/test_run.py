"""A run leaves what it promises, repeats to the byte, does nothing twice, and survives being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from conftest import TINY, key
from efface.data.batches import batches_of
from efface.errors import InputError
from efface.experiment.run import run
from efface.files import load_columns
from efface.measures.predictions import Predictions
from efface.plan.file import parse_plan, read_plan
from efface.results import read_results, results_schema


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of TINY."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "plan.toml").write_text(TINY)
    run(read_plan(folder / "plan.toml"), folder / "out")
    return folder


def measures(out: Path) -> str:
    """Everything measured, as text: bytes can be compared."""
    saved = json.loads((out / "results.json").read_text())
    return json.dumps(
        [[row["method"], row["seed"], row["measures"]] for row in saved["evaluations"]] + saved["summaries"]
    )


def test_results_follow_the_published_schema(finished: Path) -> None:
    saved = json.loads((finished / "out" / "results.json").read_text())
    jsonschema.Draft202012Validator(results_schema()).validate(saved)
    assert saved["schema"] == "efface.results/2"


def test_every_row_stands_for_every_seed(finished: Path) -> None:
    rows = [(row.method, row.seed) for row in read_results(finished / "out").evaluations]
    names = ["original", "reference", "finetune", "ascent", "ascent, rebalanced", "constant prediction"]
    assert sorted(rows) == sorted([*((name, seed) for name in names for seed in (0, 1)), ("second reference", 1)])


def test_the_noise_floor_is_the_other_seeds_reference_beside_this_seeds_own(finished: Path) -> None:
    results = read_results(finished / "out")
    rows = {(row.method, row.seed): row for row in results.evaluations}
    floor = next(one for one in results.summaries if one.method == "second reference")
    error, wasserstein = key("mse/test/all"), key("distance/wasserstein/signal")
    assert rows["second reference", 1].reference_seed == 0
    assert rows["second reference", 1].measures[error] == rows["reference", 1].measures[error]
    assert rows["second reference", 1].measures[wasserstein].value != 0
    gap = floor.differences[error].value
    ours, theirs = (rows["reference", seed].measures[error].value for seed in (1, 0))
    assert ours is not None
    assert theirs is not None
    assert gap == pytest.approx(ours - theirs)
    assert gap != 0
    assert "one pair of retrained models" in floor.measures[wasserstein].about


def test_a_constant_prediction_is_a_row_of_its_own_that_no_attack_is_made_on(finished: Path) -> None:
    results = read_results(finished / "out")
    blind = next(row for row in results.evaluations if row.method == "constant prediction")
    assert blind.cost.faces == 0
    assert key("mse/test/all") in blind.measures
    assert not {one.family for one in blind.measures} & {"membership", "attack", "forgotten"}


def test_arms_that_share_a_model_ask_it_about_their_own_people(tmp_path: Path) -> None:
    few = (
        TINY.replace("seeds = [0, 1]", "seeds = [0]")
        .split("[methods.finetune]")[0]
        .replace('forget = { group = "B", share = 0.5 }', "")
    )
    (tmp_path / "plan.toml").write_text(few + "[arms.one.forget]\npeople = 2\n[arms.many.forget]\npeople = 8\n")
    run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    assert len(list((tmp_path / "out" / "models").glob("original-*.safetensors"))) == 1
    asked = [load_columns(Predictions, path) for path in (tmp_path / "out" / "predictions").glob("original-*")]
    assert sorted(len(np.unique(one.identity[one.split == "forget"])) for one in asked) == [2, 8]


def test_stages_and_bills_add_up(finished: Path) -> None:
    rows = {(row.method, row.seed): row for row in read_results(finished / "out").evaluations}
    last, first = rows["ascent, rebalanced", 0], rows["ascent", 0]
    assert last.stages == ["original", "ascent"]
    assert last.cost.faces > first.cost.faces > 0
    assert last.cost.seconds > first.cost.seconds
    assert last.cost.cpu_seconds > first.cost.cpu_seconds > 0  # type: ignore[operator]
    assert rows["reference", 0].cost.faces_of_retraining == 1
    assert rows["original", 0].cost.faces_of_retraining is None
    forgotten, retained = (
        sum(read_results(finished / "out").requests[0].faces[split].values()) for split in ("forget", "retain")
    )
    assert rows["finetune", 0].cost.faces == retained
    assert first.cost.faces == 2 * forgotten, "one pass to set the ceiling, one to climb"
    assert rows["original", 0].cost.faces == 3 * (forgotten + retained)
    assert rows["original", 0].cost.passes == rows["reference", 0].cost.passes == 3
    assert rows["finetune", 0].cost.passes == 1
    assert rows["finetune", 0].cost.steps == batches_of(retained, 32)
    assert (first.cost.passes, first.cost.steps) == (0, batches_of(forgotten, 32))
    assert (last.cost.passes, last.cost.steps) == (1, batches_of(forgotten, 32) + batches_of(retained, 32))


def test_the_original_is_zero_and_the_reference_a_hundred(finished: Path) -> None:
    rows = {row.method: row.measures for row in read_results(finished / "out").evaluations if row.seed == 0}
    assert rows["original"][key("forgotten/signal_to_original")].value == 0
    assert rows["reference"][key("forgotten/signal_to_reference")].value == 0
    assert rows["reference"][key("harm of method/mse/B")].value == 0
    assert rows["original"][key("weights/moved")].value == 0


def test_a_stage_is_compared_with_the_stage_before(finished: Path) -> None:
    rows = {row.method: row.measures for row in read_results(finished / "out").evaluations if row.seed == 0}
    assert "increase/mse/against stage before/B" in rows["ascent, rebalanced"]
    assert "increase/mse/against stage before/B" not in rows["ascent"]


def test_the_same_plan_again_does_no_work(finished: Path) -> None:
    out = finished / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    run(read_plan(finished / "plan.toml"), out)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "change",
    [
        ("[methods.finetune]", '[methods."a new name"]\nuse = "finetune"'),
        ('goal = "influence removed"', 'goal = "unrecognisable"'),
    ],
)
def test_a_plan_that_only_says_it_otherwise_is_answered_as_it_says(tmp_path: Path, change: tuple[str, str]) -> None:
    text = TINY.replace("seeds = [0, 1]", "seeds = [0]")
    assert change[0] in text
    for plan in (text, text.replace(*change)):
        (tmp_path / "plan.toml").write_text(plan)
        results = run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    names = {row.method for row in results.evaluations}
    assert ("a new name" in names) == ("a new name" in change[1])
    assert (results.requests[0].goal == "unrecognisable") == ("unrecognisable" in change[1])


def test_another_folder_gets_byte_identical_measures(finished: Path, tmp_path: Path) -> None:
    run(read_plan(finished / "plan.toml"), tmp_path / "out")
    assert measures(tmp_path / "out") == measures(finished / "out")


@pytest.mark.slow
def test_a_method_added_later_leaves_the_others_as_they_are(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TINY.replace("seeds = [0, 1]", "seeds = [0]"))
    run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "models").iterdir()}
    more = TINY.replace("seeds = [0, 1]", "seeds = [0]") + "[methods.neggrad_plus]\nepochs = 1\n"
    (tmp_path / "plan.toml").write_text(more)
    run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert "neggrad_plus" in {row.method for row in read_results(tmp_path / "out").evaluations}


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("models", 0),
        pytest.param("models", 3, marks=pytest.mark.slow),
        pytest.param("predictions", 4, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_ends_alike(finished: Path, tmp_path: Path, kind: str, count: int) -> None:
    """Killed once so many files of a kind stand there, that is in the middle of the next."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "efface", "run", str(finished / "plan.toml"), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / kind).exists() or len(list((out / kind).glob("*.[sn]*"))) < count:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "results.json").exists()
    run(read_plan(finished / "plan.toml"), out)
    assert measures(out) == measures(finished / "out")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(InputError, match="another run is at work"):
        run({"": parse_plan(tiny(), "plan")}, tmp_path / "out")


def test_a_file_is_no_folder_for_results(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("taken")
    with pytest.raises(InputError, match="cannot be used as a folder"):
        run({"": parse_plan(tiny(), "plan")}, tmp_path / "out")


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'abacus'"):
        run({"": parse_plan(tiny(), "plan")}, tmp_path / "out", device="abacus")


def test_arms_share_the_original(tmp_path: Path) -> None:
    """Two requests to one model: it is trained once."""
    (tmp_path / "plan.toml").write_text(
        TINY.replace("seeds = [0, 1]", "seeds = [0]")
        + '[arms.few]\nforget = { group = "B", share = 0.2 }\n[arms.many]\nforget = { group = "B", share = 0.8 }\n'
    )
    results = run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    names = [path.name for path in (tmp_path / "out" / "models").glob("*.safetensors")]
    assert sum(name.startswith("original") for name in names) == 1
    assert sum(name.startswith("reference") for name in names) == 2
    assert {row.arm for row in results.evaluations} == {"few", "many"}


def test_a_run_can_start_from_given_weights(finished: Path, tmp_path: Path) -> None:
    given = next((finished / "out" / "models").glob("original-seed0*.safetensors"))
    raw = tiny()
    raw["model"]["weights"] = str(given)
    results = run({"": parse_plan(raw, "plan")}, tmp_path / "out")
    ours = next(row for row in results.evaluations if row.method == "original")
    theirs = next(
        row for row in read_results(finished / "out").evaluations if (row.method, row.seed) == ("original", 0)
    )
    assert ours.measures[key("mse/test/B")] == theirs.measures[key("mse/test/B")]
    assert ours.cost.faces == 0


def test_weights_of_another_network_are_refused(finished: Path, tmp_path: Path) -> None:
    raw = tiny()
    raw["model"] |= {"weights": str(next((finished / "out" / "models").glob("original*.safetensors"))), "hidden": 17}
    with pytest.raises(InputError, match="another network"):
        run({"": parse_plan(raw, "plan")}, tmp_path / "out")


def tiny() -> dict:  # type: ignore[type-arg]
    """TINY as plain data, one seed and no methods."""
    import tomllib

    raw = tomllib.loads(TINY)
    return raw | {"seeds": [0], "methods": {}}
