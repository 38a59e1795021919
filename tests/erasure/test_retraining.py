"""A reference and shadow models beside a request, trained by a recipe, on generated faces."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import refusal
from deployments import Deployment, deployed
from efface.data.batches import as_input
from efface.data.faces import Array
from efface.erasure import reference
from efface.erasure.audit_files import audit
from efface.erasure.judge import told_apart_of
from efface.erasure.opened import open_model
from efface.erasure.photos import read_request_photos
from efface.erasure.recipe import read_recipe
from efface.erasure.reference import reference_of
from efface.erasure.request import ErasureRequest, erasure_request
from efface.erasure.shadow_attack import LIRA, dealt, told_apart
from efface.settings import Precision
from efface.tasks import TASKS
from efface.training import environment

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
SHORT = 'epochs = 1\nbatch = 32\nlr = 0.01\nhead = "cosface"\n'


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deployed(tmp_path_factory.mktemp("deployment"))


def request_of(deployment: Deployment, folder: Path, text: str = SHORT, **more: Any) -> ErasureRequest:
    recipe = folder / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    return erasure_request(deployment.given(recipe=recipe, **more))


def test_a_shadow_model_has_half_of_the_people_and_the_next_one_the_others() -> None:
    asked, strangers = np.array(list("aabbccc")), np.array(list("xxyyzzw"))
    sides = dealt(asked, strangers, 8, 0)
    assert len(sides) == 8
    for first, second in zip(sides[::2], sides[1::2], strict=True):
        assert not first & second
        assert first | second == set("abcxyzw")
        assert abs(len(first & set("abc")) - len(second & set("abc"))) == 1
    assert all(sum(person in one for one in sides) >= 2 for person in "abcxyzw")
    assert "even number" in refusal(dealt, asked, strangers, 5, 0)


def test_the_attack_is_told_by_pairs_people_counting_alike() -> None:
    """One person has three photos, one has one: by hand."""
    score = np.array([3.0, 1.0, 1.0, 5.0, 2.0, 4.0])
    who = np.array(["a", "a", "a", "b", "x", "y"])
    found = told_apart(score, who, 4)
    assert found.value == pytest.approx((1 / 3 + 0 + 1 + 1) / 4)
    assert found.low is None


def test_an_audit_trains_shadow_models_by_a_recipe_and_leaves_none(deployment: Deployment, tmp_path: Path) -> None:
    said: list[str] = []
    asked = request_of(deployment, tmp_path, shadows=4)
    result = audit(asked, deployment.model, tmp_path / "out", threads=1, say=said.append)
    (attack,) = [one for one in result.measurements if one.name == LIRA]
    assert attack.before is not None
    assert attack.after is not None
    assert attack.before.value == attack.after.value, "one file on both sides"
    assert 0 <= attack.before.value <= 1
    assert sum("shadow model " in line for line in said) == 4
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"outcome.json", "report.html"}


def test_a_recipe_trains_with_16_bits_and_hands_back_32(deployment: Deployment, tmp_path: Path) -> None:
    asked = request_of(deployment, tmp_path)
    model = open_model(asked.model, None, asked.contract)
    faces = read_request_photos(asked, model.contract).faces[np.arange(32)]
    recipe, answers = read_recipe(asked.recipe, TASKS["recognition"]), np.zeros((1, model.checkpoint.dimensions or 0))
    wide, narrow = (
        recipe.trained(model.network, TASKS["recognition"], faces, torch.device("cpu"), 0, answers, precision)
        for precision in PRECISIONS
    )
    ours, theirs = (torch.cat([one.flatten() for one in model.parameters()]) for model in (narrow, wide))
    assert not torch.equal(ours, theirs)
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
    assert [type(part) for part in narrow.modules()] == [type(part) for part in wide.modules()]
    images = as_input(faces.images[np.arange(8)], torch.device("cpu"))
    exact = copy.deepcopy(narrow).double()(images.double())
    torch.testing.assert_close(narrow(images).double(), exact, atol=1e-4, rtol=1e-4)


def test_an_audit_says_what_its_shadow_models_computed_with(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "computes_bf16", lambda _device: True)
    wide, narrow = (
        audit(request_of(deployment, tmp_path, shadows=4, precision=one), deployment.model, tmp_path / one, threads=1)
        for one in ("fp32", "auto")
    )
    said = "what was trained here computed with bf16 meanwhile; what judges, with fp32"
    assert said in narrow.notes
    assert said not in wide.notes
    assert "bf16" in (tmp_path / "auto" / "report.html").read_text(encoding="utf-8")
    ours, theirs = (next(one for one in result.measurements if one.name == LIRA) for result in (narrow, wide))
    assert ours.after != theirs.after


def test_a_reference_that_is_trained_here_stands_beside(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network before is one that nobody trained: the reference, trained for one epoch, is hardly weaker."""
    monkeypatch.setattr("efface.erasure.judge.RecognitionJudge.weaker", lambda *_: None)
    said: list[str] = []
    asked = request_of(deployment, tmp_path, reference="train")
    result = audit(asked, deployment.model, tmp_path / "out", threads=1, say=said.append)
    assert any("retrained reference" in one.name for one in result.measurements)
    assert any(line.startswith("training a reference") and "min" in line for line in said)


class Standing:
    """A judge of which the answers are set."""

    def __init__(self, conclusion: str, weaker: str | None) -> None:
        self.conclusion, self.weak = conclusion, weaker

    def evidence(self, *_: object) -> Standing:
        return self

    def weaker(self, *_: object) -> str | None:
        return self.weak


@pytest.mark.parametrize(
    ("judge", "said"),
    [(Standing("trained on", None), "it is no reference"), (Standing("no sign", "0.6, before 0.8"), "clearly weaker")],
)
def test_a_reference_that_fails_its_own_check_is_an_error(
    judge: Any, said: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(erasure_request(deployment.given()), reference=str(deployment.model))
    monkeypatch.setattr(reference, "of_same_network", lambda *_: _Opened())
    monkeypatch.setattr(reference, "outputs", lambda *_: np.zeros((1, 2)))
    device = torch.device("cpu")
    assert said in refusal(reference_of, asked, _Opened(), _Photos(), judge, device, lambda _: None)


class _Opened:
    network = torch.nn.Identity()


class _Photos:
    class faces:
        images = np.zeros((1, 1, 2, 2), np.uint8)


def test_photos_told_apart_are_counted_as_by_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4)).astype(np.float32)
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    who = np.array(list("aabbbcccd"))
    found = told_apart_of(unit, who)
    for place, person in enumerate("abc"):
        wins = []
        for i in np.flatnonzero(who == person):
            for j in np.flatnonzero(who == person):
                for k in np.flatnonzero(who != person):
                    for m in np.flatnonzero(who == person):
                        if i != j:
                            own, other = unit[i] @ unit[j], unit[m] @ unit[k]
                            wins.append(float(own > other) + 0.5 * float(own == other))
        assert found[place] == pytest.approx(np.mean(wins))
    assert np.isnan(found[3])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = ", "not valid TOML"),
        ("epochs = 0", "epochs"),
        ("epoch = 3", "epochs"),
        ("epochs = 3\nmilestones = [5]", "milestone 5"),
        ('head = "arc"', "head"),
    ],
)
def test_a_recipe_that_is_none_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    assert said in refusal(read_recipe, file, TASKS["recognition"])


def test_what_stands_beside_is_checked_before_anything_is_trained(deployment: Deployment, tmp_path: Path) -> None:
    missing = erasure_request(deployment.given(reference="nowhere.pth"))
    assert "does not exist" in refusal(audit, missing, deployment.model, tmp_path / "a", threads=1)
    alone = request_of(deployment, tmp_path)
    assert "a recipe is for" in refusal(audit, alone, deployment.model, tmp_path / "b", threads=1)
