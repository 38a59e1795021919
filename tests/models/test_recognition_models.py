"""Recognisers: the published layout of weights, heads against their formulas, and backbones of one's own."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
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
from efface.models.load import lacks_head, load_weights
from efface.models.mobilefacenet import Bottleneck, MobileFaceNet
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
    normalisation = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    expected |= {f"{name}.{part}" for name in ("bn1", "bn2", "features") for part in normalisation}
    for stage, blocks in enumerate((3, 4, 14, 3), start=1):
        for block in (f"layer{stage}.{place}" for place in range(blocks)):
            expected |= {f"{block}.{name}.weight" for name in ("conv1", "prelu", "conv2")}
            expected |= {f"{block}.{name}.{part}" for name in ("bn1", "bn2", "bn3") for part in normalisation}
        expected |= {f"layer{stage}.0.downsample.0.weight"}
        expected |= {f"layer{stage}.0.downsample.1.{part}" for part in normalisation}
    assert set(weights) == expected


@pytest.mark.parametrize(("depth", "millions"), [(18, 24.03), (34, 34.14), (50, 43.59), (100, 65.16)])
def test_every_depth_has_as_many_weights_as_insightface_states(depth: int, millions: float) -> None:
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in IResNet((3, 112, 112), depth).parameters())
    assert weights / 1e6 == pytest.approx(millions, abs=0.02)


def test_mobilefacenet_is_as_large_as_published() -> None:
    """0.99 million weights at 112 pixels and 128 dimensions, of which the last convolution sees 7x7."""
    with torch.device("meta"):
        model = MobileFaceNet((3, 112, 112), 64, 128)
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(0.99, abs=0.02)
    assert model.pool[0].weight.shape == (512, 1, 7, 7)
    assert [block.adds for block in model.layers if isinstance(block, Bottleneck)] == (
        [False] + [True] * 4 + [False] + [True] * 6 + [False] + [True] * 2
    )


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


TRAINED = [*(("iresnet", head) for head in HEADS), ("mobilefacenet", "arcface")]


def trained(name: str, head: HeadName) -> tuple[Any, list[float]]:
    """A small recogniser after a few steps on noise, and its losses."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = {"iresnet": SMALL, "mobilefacenet": {"width": 8, "dimensions": 8}}[name]
        model = built(name, (3, 16, 16), 5, head=head, scale=16.0, **settings).to(memory_format=torch.channels_last)
        images = torch.rand(10, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    people, losses = torch.arange(10) % 5, []
    steps = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 0.02, momentum=0.9)
    for _ in range(8):
        loss = model.head.loss(model(images), people)
        assert loss.shape == (10,)
        steps.zero_grad()
        loss.mean().backward()
        steps.step()
        losses.append(float(loss.detach().mean()))
    return model, losses


@pytest.fixture
def deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(("name", "head"), TRAINED)
def test_recognisers_learn_and_learn_the_same_again(name: str, head: HeadName) -> None:
    (model, losses), (again, _) = trained(name, head), trained(name, head)
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "head"), TRAINED)
def test_nothing_that_was_learned_outlives_a_reinitialisation(name: str, head: HeadName) -> None:
    """All but the scale that is fixed to one, be it a weight or a running statistic."""
    model, _ = trained(name, head)
    before = copy.deepcopy(model.state_dict())
    reinitialise(model)
    kept = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert kept == ({"backbone.features.weight"} if name == "iresnet" else set())


def test_attention_starts_afresh_and_a_weight_that_cannot_is_named() -> None:
    attention = nn.Sequential(nn.MultiheadAttention(8, 2))
    before = copy.deepcopy(attention.state_dict())
    reinitialise(attention)
    assert not torch.equal(attention.state_dict()["0.in_proj_weight"], before["0.in_proj_weight"])
    attention.register_parameter("token", nn.Parameter(torch.zeros(3)))
    message = refusal(reinitialise, attention)
    assert "token (1 in all)" in message
    assert "reset_parameters()" in message


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


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_where_the_angle_has_none(name: HeadName) -> None:
    """On a person's very direction, as after a single photo placed it; opposite to it; and at no length at all."""
    head = make_head(name, 5, 16, None, 64.0)
    head.place(torch.eye(5, 16))
    first, second = torch.eye(16)[:2]
    faces = torch.stack([first, 20 * first, -20 * first, 0 * first, second]).requires_grad_()
    head.loss(faces, torch.zeros(5, dtype=torch.int64)).sum().backward()  # type: ignore[no-untyped-call]
    for gradient in (faces.grad, head.weight.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_arcface_s_gradient_is_its_formula_s() -> None:
    head = make_head("arcface", 5, 16, None, 20.0)
    faces = embeddings().requires_grad_()
    own = torch.cos(torch.acos(head.cosines(faces).gather(1, PEOPLE[:, None])) + 0.5)
    logits = 20 * head.cosines(faces).scatter(1, PEOPLE[:, None], own)
    (expected,) = torch.autograd.grad(functional.cross_entropy(logits, PEOPLE, reduction="sum"), faces)
    (found,) = torch.autograd.grad(head.loss(faces, PEOPLE).sum(), faces)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_magface_cannot_start_above_its_largest_margin() -> None:
    assert "model.margin 0.9 is too large" in refusal(make_head, "magface", 5, 16, 0.9, 20.0)


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


def test_a_backbone_whose_parts_are_called_backbone_and_head_is_still_one(tmp_path: Path) -> None:
    def nested() -> Any:
        parts = OrderedDict(flat=nn.Flatten(), backbone=nn.Linear(12, 6), neck=nn.PReLU(), head=nn.Linear(6, 8))
        return Recogniser(nn.Sequential(parts), make_head("arcface", 5, 8, None, 20.0))

    saved, loaded = nested(), nested()
    torch.save(saved.backbone.state_dict(), tmp_path / "backbone.pth")
    load_weights(loaded, tmp_path / "backbone.pth")
    assert torch.equal(loaded.backbone.head.weight, saved.backbone.head.weight)
    assert lacks_head(loaded, tmp_path / "backbone.pth")
    torch.save(saved.state_dict(), tmp_path / "whole.pth")
    assert not lacks_head(loaded, tmp_path / "whole.pth")


def test_an_embedding_of_another_width_is_refused(tmp_path: Path) -> None:
    torch.save(built("iresnet", (3, 16, 16), 5, **SMALL).backbone.state_dict(), tmp_path / "backbone.pth")
    message = refusal(
        load_weights, built("iresnet", (3, 16, 16), 5, **{**SMALL, "dimensions": 9}), tmp_path / "backbone.pth"
    )
    assert "fc.weight is (8, 32), expected (9, 32); give the model the settings" in message


def flat(shape: tuple[int, int, int]) -> nn.Module:
    """A backbone of a user's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))


def no_network(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape


def of_vectors(_shape: tuple[int, int, int]) -> nn.Module:
    """One that takes vectors, not images."""
    return nn.Linear(7, 8)


class Twice(nn.Module):
    """Its input, twice."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


def two_answers(_shape: tuple[int, int, int]) -> nn.Module:
    """One that gives more than embeddings."""
    return Twice()


def by_itself(dimensions: int = 768) -> nn.Module:
    """One that is not called with a shape."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, dimensions))


def of_two(_one: int, _other: int) -> nn.Module:
    """One that wants more than a shape."""
    return nn.Flatten()


def broken(_shape: tuple[int, int, int]) -> nn.Module:
    """One that fails by itself."""
    raise OSError("no weights here\nand more lines")


@pytest.mark.parametrize(("factory", "dimensions"), [("flat", 8), ("by_itself", 768)])
def test_a_backbone_of_ones_own_is_named_by_module_and_function(factory: str, dimensions: int) -> None:
    given = {"factory": f"test_recognition_models:{factory}", "dimensions": dimensions}
    model = built("own_backbone", (3, 16, 16), 5, **given)
    assert isinstance(model, Recogniser)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, dimensions)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("test_recognition_models:flat", "(2, 8) for two images: expected (2, 512); set model.dimensions"),
        ("no_such_module:flat", "cannot be used"),
        ("test_recognition_models:nothing", "cannot be used"),
        ("flat", "module:function"),
        ("os:sep", "cannot be called with the shape (3, 16, 16)"),
        ("test_recognition_models:of_two", "cannot be called with the shape (3, 16, 16)"),
        ("test_recognition_models:broken", "nor without: no weights here"),
        ("test_recognition_models:of_vectors", "cannot embed images of shape (3, 16, 16)"),
        ("test_recognition_models:two_answers", "answers with a tuple: expected embeddings (2, 512)"),
        ("math:prod", "cannot be used"),
        ("test_recognition_models:no_network", "gives tuple: expected a torch.nn.Module"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_refused(factory: str, words: str) -> None:
    assert words in refusal(built, "own_backbone", (3, 16, 16), 5, factory=factory)
