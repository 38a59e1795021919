"""A run loses nothing and believes nothing: methods that diverge, damaged files, arms of any name, lone faces."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY, predictions_of, refusal
from efface import report
from efface.evaluation.evaluate import summarise
from efface.evaluation.evidence import evidence_path
from efface.evaluation.pseudonyms import key_of, pseudonyms
from efface.experiment.run import run
from efface.experiment.store import is_whole, seal
from efface.files import load_columns, load_columns_if_whole, save_columns
from efface.measures.predictions import Predictions
from efface.models import MODELS
from efface.models.normalisation import allow_lone_faces
from efface.plan.file import read_plan
from efface.results import Results, read_results

PEOPLE = 'where = { person = ["p00003", "p00005"] }'


def plan_in(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A run in which one method, and whatever follows it, diverges."""
    folder = tmp_path_factory.mktemp("diverged")
    diverging = '[methods.ascent]\nuse = "neggrad"\nlr = 1e30\nepochs = 3\nceiling = inf\nclip = inf\n'
    text = TINY.replace('[methods.ascent]\nuse = "neggrad"\n', diverging)
    accept = '[accept]\n"within_0.25/test/all" = { within = 0.9 }\n'
    return run(read_plan(plan_in(folder, text + accept)), folder / "out"), folder / "out"


def test_a_method_that_diverges_is_a_row_that_says_so(lost: tuple[Results, Path]) -> None:
    results, out = lost
    rows = {one.method: one for one in results.summaries}
    assert rows["ascent"].diverged
    assert rows["ascent, rebalanced"].diverged
    assert not rows["ascent"].measures
    assert rows["finetune"].measures
    assert not rows["finetune"].diverged
    verdicts = {one.method: one for one in results.verdicts}
    assert verdicts["ascent"].verdict == "fail"
    assert "diverged" in verdicts["ascent"].why
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Diverged, predictions are not finite: “ascent” and “ascent, rebalanced”." in page
    assert read_results(out).digest == results.digest


def test_one_seed_that_diverges_leaves_no_flattering_mean(lost: tuple[Results, Path]) -> None:
    rows = [one for one in lost[0].evaluations if one.method == "finetune"]
    summary = summarise([rows[0], rows[1].model_copy(update={"measures": {}, "diverged": True})])[0]
    assert summary.diverged == [1]
    assert not summary.measures


def test_an_original_that_diverges_is_said_in_one_line(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, TINY.replace("epochs = 3 }", "epochs = 3, lr = 1e30 }"))
    assert "the original of seed 0 diverged" in refusal(run, read_plan(plan), tmp_path / "out")


def test_arms_of_any_name_have_files_of_their_own(tmp_path: Path) -> None:
    names = ["", "張三", "李四", "a b", "a-b", "A b", "x" * 300, "../up", "run", "é", "e\u0301"]
    paths = [evidence_path(tmp_path, name) for name in names]
    assert len(set(paths)) == len(names)
    assert {path.parent for path in paths} == {tmp_path / "evidence"}
    assert max(len(path.name) for path in paths) < 100


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    text = TINY.replace("seeds = [0, 1]", "seeds = [0]").replace('group = "B", share = 0.5', PEOPLE)
    run(read_plan(plan_in(tmp_path, text)), tmp_path / "out")
    return tmp_path


@pytest.mark.parametrize("kind", ["models/original*.safetensors", "predictions/reference*.npz", "results.json"])
@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cut off", "empty"))]
)
def test_a_damaged_file_is_made_again(finished: Path, kind: str, damage: str) -> None:
    out = finished / "out"
    before = read_results(out)
    path = next(out.glob(kind))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-9 if kind == "results.json" else len(content) // 2] ^= 1
    path.write_bytes({"flipped": bytes(content), "cut off": bytes(content[: len(content) // 2]), "empty": b""}[damage])
    (out / "report.html").unlink()
    after = run(read_plan(finished / "plan.toml"), out)
    assert [one.measures for one in after.evaluations] == [one.measures for one in before.evaluations]
    assert read_results(out).digest == after.digest


def test_results_that_were_edited_are_not_believed(finished: Path) -> None:
    path = finished / "out" / "results.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    plain["summaries"][0]["measures"]["within_0.25/test/all"]["value"] = 1.0
    path.write_text(json.dumps(plain), encoding="utf-8")
    assert "is not what was written" in refusal(read_results, finished / "out")


def test_damaged_evidence_is_one_line(finished: Path) -> None:
    path = evidence_path(finished / "out", "")
    path.write_bytes(path.read_bytes()[:500])
    assert "run the plan again" in refusal(report.write, finished / "out")


def test_nobody_is_named_but_in_one_file(finished: Path) -> None:
    out = finished / "out"
    names = {b"p00003", b"p00005"}
    inside = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    inside |= {
        path: b" ".join(column.tobytes().replace(b"\0", b"") for column in np.load(path).values())
        for path in out.rglob("*.npz")
    }
    named = {path.name for path, content in inside.items() if any(name in content for name in names)}
    assert named == {"pseudonyms.csv"}
    for path in ("pseudonyms.csv", "salt", "evidence/run.npz"):
        assert (out / path).stat().st_mode & 0o077 == 0, path
    table = (out / "pseudonyms.csv").read_text(encoding="utf-8")
    where = read_results(out).plan[""]["forget"]["where"]["person"]
    assert [re.search(f"^{one},(.*)$", table, re.MULTILINE)[1] for one in where] == ["p00003", "p00005"]  # type: ignore[index]
    assert (out / "salt").read_text() not in (out / "results.json").read_text() + (out / "report.html").read_text()


def test_pseudonyms_are_of_one_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (key_of(tmp_path / name) for name in "ab")
    assert key_of(tmp_path / "a") == one
    names = np.array(["Ann", "Bob", "Ann"])
    first, second = pseudonyms(names, one), pseudonyms(names, other)
    assert first[0] == first[2] != first[1]
    assert not set(first) & set(second)
    assert len(pseudonyms([], one)) == 0


def test_a_report_can_do_without_faces(finished: Path) -> None:
    page = report.write(finished / "out", with_faces=False).read_text(encoding="utf-8")
    assert "data:image/png" not in page
    assert "Exposure of single people" in page
    assert "data:image/png" in report.write(finished / "out").read_text(encoding="utf-8")


def test_what_is_sealed_is_whole_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert not is_whole(path)
    seal(path)
    assert is_whole(path)
    assert (tmp_path / "weights.sha256").read_text() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  weights\n"
    ), "as sha256sum writes it"
    path.write_bytes(b"abd")
    assert not is_whole(path)


def test_a_column_file_is_read_only_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "columns.npz"
    assert load_columns_if_whole(Predictions, path) is None
    save_columns(predictions_of(("test", "A", 3, 2)), path)
    assert load_columns_if_whole(Predictions, path) is not None
    assert np.array_equal(load_columns(Predictions, path).key, np.arange(6).astype(str))
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place])
        assert load_columns_if_whole(Predictions, path) is None


NETWORKS: list[tuple[str, tuple[int, int, int], dict[str, Any]]] = [
    ("resnet18", (1, 24, 24), {"width": 4, "stem": "small"}),
    ("iresnet", (3, 32, 32), {"depth": 10, "width": 4, "dimensions": 8}),
    ("mobilefacenet", (3, 32, 32), {"dimensions": 8}),
]


@pytest.mark.parametrize(("name", "shape", "settings"), NETWORKS)
def test_one_face_is_normalised_by_running_statistics(
    name: str, shape: tuple[int, int, int], settings: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    plain = MODELS[name](shape, 3, **settings)
    model = allow_lone_faces(plain).train()
    many, one = torch.randn(4, *shape), torch.randn(1, *shape)
    model(many)
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [part.running_mean.clone() for part in norms if part.running_mean is not None]
    answer = model(one)
    assert all(part.training for part in norms)
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, norms, strict=True) if b.running_mean is not None)
    assert torch.allclose(answer, model.eval()(one), atol=1e-5)


@pytest.mark.parametrize("method", ["finetune", "neggrad_plus", "ascend_stabilise", "scrub", "sfr_on", "salun"])
def test_a_request_for_one_photo_runs(tmp_path: Path, method: str) -> None:
    text = f"""
    task = "classes"
    goal = "influence removed"
    data = {{ name = "synthetic", people = 60, photos_per_person = 1, size = [24, 24], label = "age" }}
    forget = {{ first = 1 }}
    model = {{ name = "resnet18", width = 4, stem = "small" }}
    train = {{ epochs = 1 }}
    [methods.{method}]
    epochs = 1
    """
    results = run(read_plan(plan_in(tmp_path, text)), tmp_path / "out")
    assert {one.method for one in results.summaries} == {"original", "reference", method, "constant prediction"}
