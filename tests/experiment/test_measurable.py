"""What `check` says will be measured is what a run measures, and what nobody measures is refused before any work."""

from pathlib import Path

import pytest

from conftest import TINY, key, not_announced, refusal
from efface.evaluation import evaluate
from efface.experiment.measurable import check_groups
from efface.experiment.run import run
from efface.measures.bootstrap import measure
from efface.plan.file import read_plan

AUDITED = """[audit]
shadows = 4
unlearn = ["finetune"]
relearn = true
[accept]
"attack/loss/auc/photo" = { within = 0.5 }
"within_0.25/test/all" = { within = 0.5 }
"measure/furthest/test" = { at_most = 100.0 }
"""


def furthest(compared: evaluate.Comparison) -> evaluate.Measures:
    """The mean error on test faces, under a name of its own."""
    rows = compared.predictions.rows("test")
    error = compared.bootstrap.means(compared.model.scores["mse"], rows)
    return {key("measure/furthest/test"): measure(error, "low", "mean squared error on test faces, in square pixels")}


def test_a_measure_is_one_function_and_one_line_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(evaluate.MEASURES, "furthest", furthest)
    text = TINY.replace("seeds = [0, 1]", "seeds = [0]").replace(
        "size = [24, 24] }", 'size = [24, 24], also_by = ["glasses"] }'
    )
    (tmp_path / "plan.toml").write_text(text + AUDITED, encoding="utf-8")
    results = run(read_plan(tmp_path / "plan.toml"), tmp_path / "out", threads=1)
    assert not_announced(read_plan(tmp_path / "plan.toml"), tmp_path / "out") == set()
    for row in results.summaries:
        assert row.measures[key("measure/furthest/test")].span == pytest.approx(row.measures[key("mse/test/all")].span)
    assert "measure/furthest/test" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert {met.measure for one in results.verdicts for met in one.criteria} >= {"measure/furthest/test"}


def test_a_threshold_on_a_group_that_is_not_there_is_refused() -> None:
    check_groups([key("mse/test/B"), key("increase/mse/against original/all")], ["A", "B"])
    assert "there is no group 'Bb'; did you mean 'B'?" in refusal(check_groups, [key("mse/test/Bb")], ["A", "B"])
