"""LEACE against the formula of its paper, written out, and on embeddings whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, Images, MethodData
from efface.data.vectors import units
from efface.methods.leace import Inputs, covariance, directions_of, drawn_together, erasure, leace
from efface.tasks.recognition import RECOGNITION

D, PEOPLE = 12, 3
CPU = torch.device("cpu")


def embeddings(seed: int = 0) -> tuple[np.ndarray, np.ndarray, Inputs]:
    """Of those who stay, the directions of those who go, and what went into the last layer."""
    rng = np.random.default_rng(seed)
    kept = rng.normal(size=(400, D)) @ rng.normal(size=(D, D)) + rng.normal(size=D)
    people = rng.normal(size=(PEOPLE, D)) * 5
    return kept, people, Inputs(rng.normal(size=(400, 7)), rng.normal(size=(PEOPLE, 7)))


def test_it_is_the_formula_of_the_paper() -> None:
    kept, people, inputs = embeddings()
    matrix, of_input, offset = erasure(kept, people, inputs, 1.0, 0.0, 0)
    sigma, mu = covariance(kept), kept.mean(0)
    inverse, away = np.linalg.inv(sigma), (people - mu).T
    reading = inverse @ away @ np.linalg.inv(away.T @ inverse @ away)
    some = np.random.default_rng(1).normal(size=(20, D))
    meant = some - (some - mu) @ reading @ away.T
    np.testing.assert_allclose(some @ matrix.T + offset, meant, atol=1e-9)
    assert not of_input.any()


def test_people_who_go_answer_like_the_middle_of_those_who_stay() -> None:
    kept, people, inputs = embeddings()
    matrix, _, offset = erasure(kept, people, inputs, 1.0, 0.0, 0)
    np.testing.assert_allclose(people @ matrix.T + offset, np.tile(kept.mean(0), (PEOPLE, 1)), atol=1e-8)


def test_what_is_refilled_keeps_the_spread_and_shows_no_hole() -> None:
    """A bare hole stands open in the changed layer: the direction in which it cannot answer is the person's."""
    _, people, _ = embeddings()
    rng = np.random.default_rng(2)
    layer = rng.normal(size=(D, 7 + D))
    inputs = Inputs(rng.normal(size=(400, 7 + D)), rng.normal(size=(PEOPLE, 7 + D)))
    kept = inputs.kept @ layer.T
    smallest = []
    for refill in (0.0, 1.0):
        matrix, of_input, _ = erasure(kept, people, inputs, 1.0, refill, 0)
        sizes = np.linalg.svd(matrix @ layer + of_input, compute_uv=False)
        smallest.append(sizes[-PEOPLE] / sizes[0])
    assert smallest[0] < 1e-9
    assert smallest[1] > 0.02
    changed = kept @ matrix.T + inputs.kept @ of_input.T
    reading = np.linalg.solve(covariance(kept), (people - kept.mean(0)).T)
    np.testing.assert_allclose((changed @ reading).std(0), (kept @ reading).std(0), rtol=0.35)


def test_of_more_people_than_dimensions_half_of_them_stay() -> None:
    kept, _, inputs = embeddings()
    people = np.random.default_rng(5).normal(size=(40, D))
    matrix, _, _ = erasure(kept, people, inputs, 1.0, 0.0, 0)
    assert np.linalg.matrix_rank(matrix) == D - D // 2


def test_photos_that_the_network_knows_count_more() -> None:
    """Seven photos that lie close together and three that lie anywhere: what is known is where the seven are."""
    rng = np.random.default_rng(0)
    known = np.eye(D)[0]
    photos = np.concatenate([known + 0.1 * rng.normal(size=(7, D)), rng.normal(size=(3, D)) * 2])
    plain = units(units(photos).mean(0, keepdims=True))[0]
    weighted = units(drawn_together(photos)[None])[0]
    assert weighted @ known > plain @ known
    assert weighted @ known > 0.99


class Pixels(nn.Module):
    """The pixels of an image through one linear layer that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(D, D)
        with torch.no_grad():
            self.last.weight.copy_(torch.eye(D))
            self.last.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.last(images.flatten(1))
        return answer


def faces(pixels: np.ndarray, who: np.ndarray) -> Faces:
    rows = np.arange(len(pixels))
    keys = np.array([f"{one}" for one in rows])
    images = Images(np.clip(pixels * 127.5 + 127.5, 0, 255).astype(np.uint8).reshape(-1, 1, 3, 4), rows)
    return Faces(images, who.astype(np.int64), who.astype(str), np.full(len(rows), ""), keys)


@pytest.fixture
def data() -> MethodData:
    """Two people whose photos lie close to the first and second axis, among people who lie anywhere."""
    rng = np.random.default_rng(0)
    centres = np.eye(D)[:2] * 0.9
    who = np.repeat([0, 1], 6)
    forget = faces(centres[who] + 0.05 * rng.normal(size=(12, D)), who)
    stay = faces(0.3 * rng.normal(size=(300, D)), np.repeat(np.arange(2, 52), 6))
    return MethodData(forget, stay, stay[:0])


def test_photos_that_nobody_handed_in_are_no_longer_drawn_together(data: MethodData) -> None:
    rng = np.random.default_rng(9)
    others = torch.from_numpy(np.eye(D)[[0] * 8] * 0.9 + 0.05 * rng.normal(size=(8, D))).float()
    strangers = torch.from_numpy(0.3 * rng.normal(size=(60, D))).float()
    model = Pixels()
    leace(model, RECOGNITION, data, BatchLoader(CPU, 0), strength=1.0)
    with torch.no_grad():
        after, normal = (units(model(one.view(-1, 1, 3, 4)).numpy()) for one in (others, strangers))
        moved = (model(strangers.view(-1, 1, 3, 4)) - strangers).norm(dim=1) / strangers.norm(dim=1)
    assert float((after @ after.T)[np.triu_indices(8, 1)].mean()) < 0.35
    assert abs(float((normal @ normal.T)[np.triu_indices(60, 1)].mean())) < 0.1
    assert float(moved.median()) < 0.7


def test_a_head_says_whom_the_model_knows_by_which_direction(data: MethodData) -> None:
    told = replace(data, directions={"1": np.eye(D)[5]})
    embedded = np.asarray(data.forget.images[np.arange(12)], np.float64).reshape(12, -1) / 127.5 - 1
    found = units(directions_of(Pixels(), told, embedded))
    assert found[0] @ np.eye(D)[0] > 0.99
    np.testing.assert_allclose(found[1], np.eye(D)[5], atol=1e-6)
