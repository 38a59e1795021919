"""Which network a file of weights is of is told by the names and shapes in it, or by its record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import refusal
from efface.erasure.architecture import architecture, network_of
from efface.erasure.checkpoint import open_checkpoint
from efface.models import MODELS
from efface.models.load import save_weights
from efface.models.recogniser import Recogniser


def ours(name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 5, **settings: Any) -> nn.Module:
    """One of this package's networks."""
    return MODELS[name](shape, classes, **settings)


def by_shape(shape: tuple[int, int, int]) -> nn.Module:
    """A factory that is told the shape."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))


def by_itself(dimensions: int = 8) -> nn.Module:
    """A factory that knows."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, dimensions))


def of_two(_one: int, _other: int) -> nn.Module:
    """A factory that wants more."""
    return nn.Identity()


def no_network() -> str:
    """No factory."""
    return "network"


def two_answers() -> nn.Module:
    """A factory of a network that answers with a pair."""

    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    return Pair()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("iresnet", {"depth": 10, "width": 4, "dimensions": 8}),
        ("iresnet", {"depth": 50, "width": 4, "dimensions": 16}),
        ("mobilefacenet", {"width": 8, "dimensions": 16}),
        ("resnet18", {"width": 4, "stem": "small"}),
        ("resnet18", {"width": 4, "stem": "imagenet"}),
        ("eyenet", {"widths": (2, 3, 4), "hidden": 5}),
    ],
)
@pytest.mark.parametrize("before", ["", "module.", "my.own."])
def test_a_network_of_this_package_is_recognised_by_its_weights(
    tmp_path: Path, name: str, settings: dict[str, Any], before: str
) -> None:
    model = ours(name, **settings)
    held = {before + one: tensor for one, tensor in model.state_dict().items()}
    torch.save({"state_dict": held, "epoch": 1}, tmp_path / "net.pth")
    found = architecture(tmp_path / "net.pth")
    assert found.name == name
    assert {one: found.settings[one] for one in settings} == settings
    made = network_of(tmp_path / "net.pth", None, (3, 32, 32))
    weights = open_checkpoint(tmp_path / "net.pth", made).weights
    backbone = model.backbone if isinstance(model, Recogniser) else model
    assert all(torch.equal(weights[one], tensor) for one, tensor in backbone.state_dict().items())
    made.load_state_dict(weights)


def test_backbone_pth_of_arcface_torch_is_recognised_with_its_published_sizes(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = ours("iresnet", (3, 112, 112), depth=18)
    assert isinstance(model, Recogniser)
    weights = {
        name: torch.zeros(one.shape, dtype=one.dtype).half() for name, one in model.backbone.state_dict().items()
    }
    torch.save(weights, tmp_path / "backbone.pth")
    found = architecture(tmp_path / "backbone.pth")
    assert (found.name, found.shape) == ("iresnet", (3, 112, 112))
    assert [found.settings[one] for one in ("depth", "width", "dimensions")] == [18, 64, 512]


def test_the_record_of_a_run_says_which_network_it_is(tmp_path: Path) -> None:
    model = ours("mobilefacenet", width=8, dimensions=16)
    record = {"model": "mobilefacenet", "model_settings": {"width": 8, "dimensions": 16, "head": "cosface"}}
    save_weights(model, tmp_path / "net.safetensors", record)
    found = architecture(tmp_path / "net.safetensors")
    assert (found.name, found.settings["width"], found.settings["head"]) == ("mobilefacenet", 8, "cosface")
    save_weights(model, tmp_path / "own.safetensors", {"model": "own_backbone"})
    assert "--arch" in refusal(architecture, tmp_path / "own.safetensors")


@pytest.mark.parametrize("name", ["iresnet", "mobilefacenet"])
def test_the_size_of_picture_follows_from_the_weights(tmp_path: Path, name: str) -> None:
    settings = {"iresnet": {"depth": 10}, "mobilefacenet": {}}[name]
    torch.save(ours(name, (3, 112, 96), width=8, dimensions=8, **settings).state_dict(), tmp_path / "net.pth")
    assert architecture(tmp_path / "net.pth").shape == (3, 112, 96)


@pytest.mark.parametrize(
    "weights",
    [
        by_itself().state_dict(),
        {**ours("mobilefacenet", width=8).state_dict(), "backbone.layers.0.1.weight": torch.zeros(3)},
        {**ours("resnet18", width=4).state_dict(), "layer1.2.conv1.weight": torch.zeros(4, 4, 3, 3)},
        {"conv1.weight": torch.zeros(1).expand(10**6, 10**6, 3, 3)},
        {"conv1.weight": torch.zeros(()), "layers.0.0.weight": torch.zeros(1), "features.0.weight": torch.zeros(2)},
    ],
    ids=["unknown", "other shape", "a block more", "too large", "other kinds"],
)
def test_a_network_of_nobody_here_needs_arch(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "net.pth")
    assert "--arch module:function" in refusal(architecture, tmp_path / "net.pth")


def test_the_user_names_what_makes_a_network(tmp_path: Path) -> None:
    torch.save(by_itself().state_dict(), file := tmp_path / "net.pth")
    for arch in ("test_architecture:by_shape", "test_architecture:by_itself"):
        assert open_checkpoint(file, network_of(file, arch, (3, 16, 16))).weights
    for arch, shape, words in (
        ("test_architecture:by_itself", (3, 20, 20), "cannot answer to images of shape (3, 20, 20)"),
        ("test_architecture:of_two", (3, 16, 16), "cannot be called"),
        ("test_architecture:no_network", (3, 16, 16), "gives str"),
        ("test_architecture:two_answers", (3, 16, 16), "answers with tuple"),
        ("test_architecture:absent", (3, 16, 16), "--arch 'test_architecture:absent' cannot be used"),
    ):
        assert words in refusal(network_of, file, arch, shape)
