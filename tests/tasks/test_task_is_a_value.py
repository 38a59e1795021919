"""A task under another name works everywhere: nothing in this package asks what a task is called."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import efface
from conftest import TINY, refusal
from efface.anonymize.photos import hide
from efface.cli import app
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.methods import METHODS, tasks_of
from efface.plan.file import parse_plan, read_plan
from efface.results import read_results
from efface.tasks import TASKS, task_named
from efface.tasks.eyes import EYE_CENTRES
from efface.testing import check_method

SOURCE = Path(efface.__file__).parent
ANOTHER = "eyes2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the renamed task, audited with shadows."""
    folder = tmp_path_factory.mktemp("renamed")
    text = TINY.replace('task = "eyes"', f'task = "{ANOTHER}"').replace("seeds = [0, 1]", "seeds = [0]")
    (folder / "plan.toml").write_text(text + "[methods.lookalikes]\n[audit]\nshadows = 4\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, ANOTHER, replace(EYE_CENTRES, name=ANOTHER))
        run(read_plan(folder / "plan.toml"), folder / "out", threads=1)
    return folder


def test_a_run_measures_all_that_it_measures_of_eyes(folder: Path) -> None:
    results = read_results(folder / "out")
    assert {row.method for row in results.summaries} >= {"original", "reference", "ascent, rebalanced", "lookalikes"}
    assert {"attack/lira/auc/photo", "distance/answers/forget", "eyes_covered/test/all"} <= set(
        results.summaries[0].measures
    )


def test_the_report_shows_eyes_and_needs_no_table_of_tasks(folder: Path) -> None:
    """Rendered again without the task in any table: what a reader must know of it stands in the results."""
    assert ANOTHER not in TASKS
    assert CliRunner().invoke(app, ["report", str(folder / "out")]).exit_code == 0
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "Predicted eyes on the same faces" in page
    assert "% hidden" in page


def test_its_weights_hide_eyes(folder: Path) -> None:
    photo = folder / "photo.png"
    Image.fromarray(np.full((60, 60), 128, np.uint8)).save(photo)
    weights = next((folder / "out" / "models").glob("original*.safetensors"))
    assert hide(photo, weights, folder / "hidden", "cover").copies


def test_methods_keep_their_contract_on_it() -> None:
    check_method(METHODS["scrub"], replace(EYE_CENTRES, name=ANOTHER))


def test_a_task_of_ones_own_is_named_as_a_module_s_value() -> None:
    assert task_named("efface.tasks.eyes:EYE_CENTRES") is EYE_CENTRES
    assert "expected an efface.tasks.Task" in refusal(task_named, "efface.tasks.eyes:EYES")
    assert "is unknown; did you mean 'eyes'?" in refusal(task_named, "eye")


@pytest.mark.parametrize("task", TASKS)
def test_what_a_method_works_on_follows_from_what_networks_answer_with(task: str) -> None:
    renamed = replace(TASKS[task], name="renamed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "renamed", renamed)
        assert all(("renamed" in tasks_of(method)) == (task in tasks_of(method)) for method in METHODS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_line_compares_the_name_of_a_task(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            words = {one.value for one in [node.left, *node.comparators] if isinstance(one, ast.Constant)}
            assert not words & set(TASKS), f"line {node.lineno}"


def test_a_row_that_begins_like_the_reference_is_a_method(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(
        TINY.replace("[methods.ascent]\n", '[methods."reference-free"]\n').replace('"ascent"', '"reference-free"')
    )
    run(read_plan(tmp_path / "plan.toml"), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    row = page[page.index("<b>reference-free</b>") :].partition('<div class="row')[0]
    assert any(word in row for word in ("incomplete forgetting", "as retrained", "over-forgetting", "inconclusive")), (
        "it has a status"
    )


@pytest.mark.parametrize(
    ("accept", "why"),
    [
        ({"acuracy/test/all": {"at_least": 0.5}}, "names no measure: score has"),
        ({"attack/loss/auc/photo": {"within": 0.1}}, "is not measured in this plan"),
        ({"distance/js/forget": {"at_most": 0.1}}, "names no measure: distance has"),
        ({"nothing": {"at_most": 0.1}}, "names no measure"),
        ({"verification/lfw/accuracy": {"at_least": 0.1}}, "is not measured in this plan"),
    ],
)
def test_a_threshold_on_what_is_not_measured_is_refused_before_any_work(accept: object, why: str) -> None:
    plan = {
        "task": "eyes",
        "goal": "influence removed",
        "data": {"name": "synthetic"},
        "forget": {"share": 0.5},
        "model": {"name": "eyenet"},
        "accept": accept,
    }
    assert why in refusal(lambda: resolve(parse_plan(plan, "plan"), "plan"))
