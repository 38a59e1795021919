"""Recognisers: the published layout of weights, heads against their formulas, and backbones of one's own."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from conftest import refusal
from efface.models import MODELS
from efface.models.heads import AdaFace, HeadName, MagFace, make_head
from efface.models.iresnet import IResNet
from efface.models.load import load_weights
from efface.models.recogniser import Recogniser
from efface.models.reset import reinitialise

HEADS: tuple[HeadName, ...] = ("arcface", "cosface", "adaface", "magface")
SMALL = {"depth": 10, "width": 4, "dimensions": 8}


def built(name: str, shape: tuple[int, int, int], classes: int, **settings: Any) -> Any:
    """A network, of whose parts mypy knows nothing."""
    return MODELS[name](shape, classes, **settings)


def embeddings(seed: int = 0, count: int = 6, width: int = 16, length: float = 1.0) -> Tensor:
    return length * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# Networks


def test_iresnet_50_has_the_published_names_and_shapes() -> None:
    weights = IResNet((3, 112, 112), 50, 64, 512).state_dict()
    assert weights["fc.weight"].shape == (512, 512 * 7 * 7)
    assert weights["layer3.13.conv2.weight"].shape == (256, 256, 3, 3)
    assert weights["layer1.0.downsample.0.weight"].shape == (64, 64, 1, 1)
    assert {"conv1.weight", "bn1.weight", "prelu.weight", "layer4.2.bn3.running_var", "bn2.weight", "fc.bias",
            "features.running_mean"} <= set(weights)


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)])
def test_every_depth_has_as_many_weights_as_insightface_states(depth: int, millions: float) -> None:
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in IResNet((3, 112, 112), depth).parameters())
    assert weights / 1e6 == pytest.approx(millions, abs=0.02)


@pytest.mark.parametrize(("name", "settings"), [("iresnet", SMALL), ("mobilefacenet", {"width": 8, "dimensions": 8})])
@pytest.mark.parametrize("shape", [(3, 112, 112), (3, 48, 48), (1, 50, 41)])
def test_networks_embed_faces_of_any_size(name: str, settings: dict[str, int], shape: tuple[int, int, int]) -> None:
    model = built(name, shape, 5, **settings)
    out = model(torch.zeros(2, *shape).contiguous(memory_format=torch.channels_last))
    assert out.shape == (2, 8)
    assert model.head.centres().shape == (5, 8)


def test_the_last_normalisation_keeps_its_scale_in_training() -> None:
    model = built("iresnet", (3, 16, 16), 5, **SMALL)
    assert not model.backbone.features.weight.requires_grad
    assert (model.backbone.features.weight == 1).all()


def test_a_reinitialised_recogniser_is_one_that_was_never_trained() -> None:
    model = built("iresnet", (3, 16, 16), 50, **{**SMALL, "width": 16, "dimensions": 64})
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(7)
    model.backbone.bn1.running_mean.fill_(7)
    reinitialise(model)
    assert float(model.backbone.layer3[0].conv1.weight.detach().std()) == pytest.approx(0.1, rel=0.05)
    assert float(model.head.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(model.backbone.prelu.weight.detach().mean()) == 0.25
    assert float(model.backbone.bn1.running_mean.abs().max()) == 0
    assert not model.backbone.features.weight.requires_grad


# Heads


def by_formula(cosines: Tensor, people: Tensor, own: Tensor, scale: float) -> list[float]:
    """Softmax loss, face by face, with the own cosine replaced."""
    losses = []
    for row, person, mine in zip(cosines.tolist(), people.tolist(), own.tolist(), strict=True):
        logits = [scale * (mine if place == person else value) for place, value in enumerate(row)]
        losses.append(math.log(sum(math.exp(one - max(logits)) for one in logits)) + max(logits) - logits[person])
    return losses


PEOPLE = torch.tensor([0, 1, 2, 3, 4, 4])


def test_arcface_and_cosface_are_their_formulas() -> None:
    for name, moved in (("arcface", lambda c: math.cos(math.acos(c) + 0.5)), ("cosface", lambda c: c - 0.4)):
        head = make_head(name, 5, 16, None, 20.0)  # type: ignore[arg-type]
        found, cosines = head.loss(embeddings(), PEOPLE), head.cosines(embeddings()).detach()
        own = torch.tensor([moved(float(row[person])) for row, person in zip(cosines, PEOPLE, strict=True)])
        assert found.tolist() == pytest.approx(by_formula(cosines, PEOPLE, own, 20.0), rel=1e-4)


def test_adaface_is_its_formula_and_follows_the_norms() -> None:
    head = AdaFace(5, 16, 0.4, 20.0)
    faces = embeddings(length=6)
    found, cosines = head.loss(faces, PEOPLE), head.cosines(faces).detach()
    norms = [float(face.norm().clamp(1e-3, 100)) for face in faces]
    mean, deviation = 0.99 * 20 + 0.01 * np.mean(norms), 0.99 * 100 + 0.01 * np.std(norms, ddof=1)
    own = []
    for row, person, norm in zip(cosines, PEOPLE, norms, strict=True):
        quality = float(np.clip(0.333 * (norm - mean) / (deviation + 1e-3), -1, 1))
        own.append(math.cos(math.acos(float(row[person])) - 0.4 * quality) - (0.4 + 0.4 * quality))
    assert found.tolist() == pytest.approx(by_formula(cosines, PEOPLE, torch.tensor(own), 20.0), rel=1e-4)
    assert float(head.mean) == pytest.approx(mean, rel=1e-5)
    head.eval().loss(faces, PEOPLE)
    assert float(head.mean) == pytest.approx(mean, rel=1e-5)


def test_magface_gives_long_embeddings_a_larger_margin_and_a_reward() -> None:
    head = MagFace(5, 16, 0.45, 20.0)
    faces = embeddings(length=10)
    found, cosines = head.loss(faces, PEOPLE), head.cosines(faces).detach()
    own, reward = [], []
    for row, person, face in zip(cosines, PEOPLE, faces, strict=True):
        norm = float(face.norm().clamp(10, 110))
        own.append(math.cos(math.acos(float(row[person])) + 0.45 + 0.35 * (norm - 10) / 100))
        reward.append(35 * (1 / norm + norm / 110**2))
    expected = np.array(by_formula(cosines, PEOPLE, torch.tensor(own), 20.0)) + reward
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_without_a_margin_a_head_is_a_scaled_softmax(name: HeadName) -> None:
    head = make_head(name, 5, 16, 0.0, 20.0)
    if isinstance(head, MagFace):
        head.most = head.reward = 0.0
    expected = functional.cross_entropy(20 * head.cosines(embeddings()), PEOPLE, reduction="none")
    assert head.loss(embeddings(), PEOPLE).tolist() == pytest.approx(expected.tolist(), rel=1e-3)


@pytest.mark.parametrize("name", HEADS)
def test_heads_learn_are_copied_and_saved(name: HeadName) -> None:
    head = make_head(name, 5, 16, None, 20.0)
    faces = embeddings(length=12).requires_grad_()
    head.loss(faces, PEOPLE).sum().backward()  # type: ignore[no-untyped-call]
    assert head.weight.grad is not None
    assert torch.isfinite(head.weight.grad).all()
    assert faces.grad is not None
    assert (faces.grad.abs().sum(1) > 0).all()
    again = copy.deepcopy(head)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.loss(faces, PEOPLE), head.eval().loss(faces, PEOPLE)) or name == "adaface"


def test_centres_are_unit_directions_times_the_scale() -> None:
    head = make_head("arcface", 5, 16, None, 20.0)
    head.place(3 * torch.eye(5, 16))
    assert torch.allclose(head.centres(), 20 * torch.eye(5, 16))


# Weights and backbones of one's own


def test_a_bare_backbone_is_loaded_and_the_head_left(tmp_path: Path) -> None:
    trained, fresh = (built("iresnet", (3, 16, 16), 5, **SMALL) for _ in range(2))
    torch.save(trained.backbone.state_dict(), tmp_path / "backbone.pth")
    head = fresh.head.weight.detach().clone()
    load_weights(fresh, tmp_path / "backbone.pth")
    assert torch.equal(fresh.backbone.fc.weight, trained.backbone.fc.weight)
    assert torch.equal(fresh.head.weight, head)


def test_an_embedding_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(built("iresnet", (3, 16, 16), 5, **SMALL).backbone.state_dict(), tmp_path / "backbone.pth")
    message = refusal(load_weights, built("iresnet", (3, 16, 16), 5, **{**SMALL, "dimensions": 9}),
                      tmp_path / "backbone.pth")
    assert "(8, 32), expected (9, 32)" in message or "(8,), expected (9,)" in message


def flat(shape: tuple[int, int, int]) -> nn.Module:
    """A backbone of a user's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))


def no_network(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape


def test_a_backbone_of_ones_own_is_named_by_module_and_function() -> None:
    model = built("own_backbone", (3, 16, 16), 5, factory="test_recognition_models:flat", dimensions=8)
    assert isinstance(model, Recogniser)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 8)


@pytest.mark.parametrize(("factory", "words"), [
    ("test_recognition_models:flat", "(2, 8) for two images: expected (2, 512); set model.dimensions"),
    ("no_such_module:flat", "cannot be used"),
    ("test_recognition_models:nothing", "cannot be used"),
    ("flat", "module:function"),
    ("math:prod", "cannot be used"), ("test_recognition_models:no_network", "gives tuple: expected a torch.nn.Module"),
])
def test_a_backbone_that_cannot_be_used_is_refused(factory: str, words: str) -> None:
    assert words in refusal(built, "own_backbone", (3, 16, 16), 5, factory=factory)
