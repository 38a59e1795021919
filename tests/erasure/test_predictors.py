"""Requests of networks that answer questions: what is right for each photo, what is judged, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from conftest import refusal
from efface.data.faces import EYES
from efface.erasure.criteria import Checked, Verdict
from efface.erasure.forget import forget
from efface.erasure.labels import answers_of
from efface.erasure.opened import open_model
from efface.erasure.photos import RequestPhotos, read_request_photos
from efface.erasure.prediction_judge import PredictionJudge
from efface.erasure.request import ErasureRequest, erasure_request
from efface.files import read_csv, write_csv
from efface.tasks.eyes import normalised_error
from predictors import Predictor, predictor


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Candidates and their teacher are short: what is tested is what follows, also on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efface.erasure.candidates.MOST_STEPS", 12)
        patch.setattr("efface.erasure.working.FEWEST_STEPS", 2)
        patch.setattr("efface.erasure.working.ENOUGH_STEPS", 2)
        patch.setattr("efface.erasure.second.PASSES", 1000)
        yield


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return predictor(tmp_path_factory.mktemp("eyes"), "eyes", epochs=60)


def request_of(one: Predictor, **more: Any) -> ErasureRequest:
    return erasure_request(one.given(**more))


@pytest.fixture(scope="module")
def photos(eyes: Predictor) -> RequestPhotos:
    asked = request_of(eyes)
    return read_request_photos(asked, open_model(asked.model, None, None, None, answers_of(asked)).contract)


def answers(photos: RequestPhotos, forgotten: float, others: float) -> Any:
    """Answers that are wrong by so many pixels, up and down."""
    rng = np.random.default_rng(0)
    mine = np.zeros(len(photos.faces), bool)
    mine[np.concatenate([photos.forget, photos.forget_held])] = True
    spread = np.where(mine, forgotten, others).reshape(-1, 1, 1)
    return (photos.faces.targets + spread * rng.normal(size=photos.faces.targets.shape)).astype(np.float32)


def test_it_is_known_who_was_trained_on_and_what_is_judged_is_told(eyes: Predictor, tmp_path: Path) -> None:
    done = forget(request_of(eyes, budget="1min"), tmp_path / "out", threads=1)
    assert done.evidence.conclusion == "trained on"
    assert done.threshold is None
    assert done.outcome.verdict in ("forgotten", "do not ship")
    assert (done.model_after is None) == (done.outcome.verdict == "do not ship")
    names = [one.measure for one in done.allowed]
    assert names[-1] == "normalised error of everybody else"
    assert len(names) == 4
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "gallery" not in page
    assert "cosine" not in page.split("Everything that was measured")[0]
    assert not (tmp_path / "out" / "unfinished").exists()


def test_of_people_it_never_saw_there_is_nothing_to_unlearn(eyes: Predictor, tmp_path: Path) -> None:
    """Six of the public people ask."""
    table = read_csv(eyes.folder / "public" / "manifest.csv", "manifest")
    table["path"] = [str(eyes.folder / "public" / one) for one in table["path"]]
    asking = table["person"].isin(sorted(set(table["person"]))[:6])
    for name, rows in (("asked", asking), ("public", ~asking)):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "manifest.csv", table[rows])
    done = forget(request_of(eyes, forget=tmp_path / "asked", public=tmp_path / "public"), tmp_path / "out", threads=1)
    assert done.evidence.conclusion == "no sign of training"
    assert done.outcome.verdict == "nothing to unlearn in the weights"


def test_the_file_comes_back_as_it_came(eyes: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = Verdict((Checked("anything", 0.0, -1.0, 1.0, 0.0),))
    monkeypatch.setattr(PredictionJudge, "checked", lambda self, answers, judged, limit: passed)
    monkeypatch.setattr("efface.erasure.forget_page.marks_of", lambda result: [])
    done = forget(request_of(eyes, budget="1min"), tmp_path / "out", threads=1)
    assert done.model_after is not None
    before, after = load_file(eyes.model), load_file(tmp_path / "out" / done.model_after.name)
    assert {name: (one.shape, one.dtype) for name, one in after.items()} == {
        name: (one.shape, one.dtype) for name, one in before.items()
    }
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_each_person_counts_once(eyes: Predictor, photos: RequestPhotos) -> None:
    asked = request_of(eyes)
    given = answers(photos, 0.5, 2.0)
    judge = PredictionJudge(asked, photos, given)
    rows = judge.by_verdict.others
    naive = []
    for person in np.unique(photos.faces.identities[rows]):
        errors = []
        for row in rows[photos.faces.identities[rows] == person]:
            true, found = photos.faces.targets[row].astype(float), given[row].astype(float)
            errors.append(max(np.hypot(*(found[eye] - true[eye])) for eye in (0, 1)) / np.hypot(*(true[0] - true[1])))
        naive.append(np.mean(errors))
    assert judge.error_of_others(given, judge.by_verdict).value == pytest.approx(np.mean(naive))
    held = [one for one in judge.of_people if one.held_back]
    assert {one.score.of for one in held} >= {normalised_error}


def test_whoever_is_answered_as_strangers_are_is_forgotten(eyes: Predictor, photos: RequestPhotos) -> None:
    judge = PredictionJudge(request_of(eyes), photos, answers(photos, 0.2, 2.0))
    assert judge.evidence(judge.answers_before, {}).conclusion == "trained on"
    remembered = judge.verdict(judge.answers_before)
    assert [one.word for one in remembered.checked] == ["fail", "fail", "fail", "pass"]
    assert judge.verdict(answers(photos, 2.0, 2.0)).passed
    destroyed = judge.verdict(answers(photos, 8.0, 2.0))
    assert not destroyed.passed, "worse than a stranger is a trace as well"
    harmed = judge.verdict(answers(photos, 4.0, 4.0))
    assert harmed.failed == [judge.of_others]


def test_the_user_may_allow_more_error(eyes: Predictor, photos: RequestPhotos) -> None:
    before = answers(photos, 0.2, 2.0)
    judge = PredictionJudge(request_of(eyes, at_most_error=99.0), photos, before)
    assert judge.verdict(answers(photos, 4.0, 4.0)).passed


def test_eye_centres_go_with_the_picture(eyes: Predictor, tmp_path: Path) -> None:
    """Photos twice as large, with centres twice as far, are the same faces."""
    table = read_csv(eyes.folder / "forget" / "manifest.csv", "manifest")
    (tmp_path / "large").mkdir()
    for name in table["path"]:
        photo = Image.open(eyes.folder / "forget" / name)
        photo.resize((2 * photo.width, 2 * photo.height), Image.Resampling.NEAREST).save(tmp_path / "large" / name)
    table[EYES] = 2 * table[EYES].astype(float)
    write_csv(tmp_path / "large" / "manifest.csv", table)
    contract = open_model(eyes.model, None, None, None, (2, 2)).contract
    small, large = (
        read_request_photos(request_of(eyes, **more), contract) for more in ({}, {"forget": tmp_path / "large"})
    )
    for rows in ("forget", "forget_held"):
        first, second = (one.faces.targets[getattr(one, rows)] for one in (small, large))
        assert second == pytest.approx(first, abs=1e-4)


def test_a_contract_that_is_not_its_trainings_is_refused(eyes: Predictor, tmp_path: Path) -> None:
    """Pixels of 0 to 255 to a network that was trained on -1 to 1."""
    from efface.files import sha256_of

    (tmp_path / "contract.toml").write_text(
        f'[model]\nsha256 = "{sha256_of(eyes.model)}"\n[contract]\nsize = [24, 24]\ntemplate = "whole"\n'
        'channels = "grey"\nmean = 0\nstd = 1\n',
        encoding="utf-8",
    )
    said = refusal(lambda: forget(request_of(eyes, contract=tmp_path / "contract.toml"), tmp_path / "out", threads=1))
    assert "fits better" in said
    assert "--mean 127.5 --std 127.5" in said


def test_a_network_that_nobody_trained_is_refused(tmp_path: Path) -> None:
    one = predictor(tmp_path, "attributes", epochs=0)
    assert "no better than one constant answer" in refusal(lambda: forget(request_of(one), tmp_path / "out", threads=1))
    assert not (tmp_path / "out" / "outcome.json").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "ages"}, "task"),
        ({"label": ["smile"]}, "'eyes' has no label"),
        ({"classes": ["a", "b"]}, "classes are of task 'classes'"),
        ({"task": "classes", "label": ["age"]}, "give classes, the values of 'age'"),
        ({"task": "classes", "label": ["age"], "classes": ["a", "a"]}, "each named once"),
        ({"task": "attributes"}, "the labels, in the order of the outputs"),
        ({"threshold": 0.4}, "threshold is of recognisers"),
        ({"goal": "unrecognisable"}, "recognises nobody"),
        ({"second": "x.pth"}, "recognisers alone"),
        ({"task": "recognition", "at_most_error": 0.1}, "a recogniser has no error"),
    ],
)
def test_settings_of_another_task_are_one_line(eyes: Predictor, more: dict[str, Any], said: str) -> None:
    assert said in refusal(lambda: request_of(eyes, **more))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop(columns="left_x"), "no column 'left_x'"),
        (lambda table: table.assign(left_x=500), "inside the 24x24 picture"),
    ],
)
def test_labels_that_cannot_be_right_are_one_line(eyes: Predictor, tmp_path: Path, change: Any, said: str) -> None:
    table = read_csv(eyes.folder / "forget" / "manifest.csv", "manifest")
    table["path"] = [str(eyes.folder / "forget" / one) for one in table["path"]]
    write_csv(tmp_path / "manifest.csv", change(table))
    asked = request_of(eyes, forget=tmp_path / "manifest.csv")
    contract = open_model(asked.model, None, None, None, (2, 2)).contract
    assert said in refusal(lambda: read_request_photos(asked, contract))


def test_a_class_that_is_not_among_the_outputs_is_one_line(eyes: Predictor) -> None:
    asked = replace(request_of(eyes), task="classes", label=("group",), classes=("x", "y"))
    contract = open_model(eyes.model, None, None, None, (2, 2)).contract
    assert "none of classes: x, y" in refusal(lambda: read_request_photos(asked, contract))


def test_a_network_of_other_answers_is_one_line(eyes: Predictor) -> None:
    asked = request_of(eyes, task="attributes", label=["smile", "glasses"])
    assert "expected (2, 2)" in refusal(lambda: open_model(asked.model, None, None, None, answers_of(asked)))


def test_the_outcome_is_the_same_when_it_is_read_again(eyes: Predictor, tmp_path: Path) -> None:
    asked = request_of(eyes, budget="1min")
    first = forget(asked, tmp_path / "out", threads=1)
    assert forget(asked, tmp_path / "out", threads=1) == first
    assert json.loads((tmp_path / "out" / "outcome.json").read_text(encoding="utf-8"))["threshold"] is None
