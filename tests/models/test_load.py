"""Weights come in as data: every checkpoint met in practice is read, and nothing in one is ever run."""

from __future__ import annotations

import argparse
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from conftest import refusal
from efface.errors import InputError
from efface.models import MODELS
from efface.models.load import (
    NESTING,
    lacks_head,
    load_weights,
    read_weights,
    recorded_network,
    save_weights,
    start_from,
)
from efface.models.recogniser import Recogniser

SMALL: dict[str, Any] = {"widths": (2, 3, 4), "hidden": 5}


def net(seed: int = 0, **settings: Any) -> nn.Module:
    """A small EyeNet whose weights follow from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS["eyenet"]((1, 16, 16), **(SMALL | settings))


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its weights laid out in memory as training lays them out."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether both have the same names with the same numbers."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# What is read


def test_weights_and_their_record_come_back_as_saved_and_nothing_else_is_left(tmp_path: Path) -> None:
    model, record = net(), {"task": "eyes", "keys": ["a", "é"], "seed": 3}
    save_weights(channels_last(model), tmp_path / "net.safetensors", record)
    weights, known = read_weights(tmp_path / "net.safetensors")
    assert same(weights, model.state_dict())
    assert known == record
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_loading_makes_another_net_answer_the_same(tmp_path: Path) -> None:
    saved, loaded, images = net(0), net(1), torch.rand(2, 1, 16, 16)
    save_weights(saved, tmp_path / "net.safetensors", {})
    assert not torch.equal(saved(images), loaded(images))
    assert load_weights(loaded, tmp_path / "net.safetensors") is loaded
    assert torch.equal(saved(images), loaded(images))


def test_saving_what_cannot_be_saved_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_weights(net(), file, {})
    with pytest.raises(TypeError):
        save_weights(net(1), file, {"not json": object()})
    assert same(read_weights(file)[0], net().state_dict())
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
def test_a_plain_state_dict_of_torch_is_read(tmp_path: Path, suffix: str, zipped: bool) -> None:
    file = tmp_path / f"net{suffix}"
    torch.save(net().state_dict(), file, _use_new_zipfile_serialization=zipped)
    weights, record = read_weights(file)
    assert same(weights, net().state_dict())
    assert record == {}


@pytest.mark.parametrize("wrapper", NESTING)
def test_a_wrapped_state_dict_is_unwrapped_whatever_stands_beside_it(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, wrapper: net().state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt")[0], net().state_dict())


# Weights that were trained elsewhere


def backbone(seed: int = 0, **settings: Any) -> Recogniser:
    """A small recogniser whose weights follow from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS["iresnet"]((3, 16, 16), 5, **({"depth": 10, "width": 4, "dimensions": 8} | settings))
    assert isinstance(model, Recogniser)
    return model


GOOD = backbone().backbone.state_dict()


def named(before: str, weights: Any = GOOD) -> dict[str, Tensor]:
    """The weights with something before each name."""
    return {before + name: tensor for name, tensor in weights.items()}


@pytest.mark.parametrize(
    "held",
    [
        named("module."),
        named("_orig_mod."),
        named("module._orig_mod."),
        named("_orig_mod.module."),
        named("backbone."),
        named("model."),
        named("net.module."),
        named("model.backbone._orig_mod."),
        named("my.own.recogniser."),
        {**named("backbone."), "arcface.weight": torch.zeros(7, 8)},
        {
            name.replace("layer1", "layer1._orig_mod").replace("layer2.0", "layer2.module.0"): GOOD[name]
            for name in GOOD
        },
        {("model." if "layer" in name else "module.") + name: GOOD[name] for name in GOOD},
        {name: tensor for name, tensor in GOOD.items() if "num_batches" not in name},
        {"epoch": 1, "state_dict_backbone": GOOD, "state_dict_softmax_fc": {"weight": torch.zeros(5, 8)}},
        {"net_state_dict": named("module.")},
        {"trained": {"student": {"state_dict": named("model.")}}},
        {"state_dict": GOOD, "state_dict_ema": {name: 0 * tensor for name, tensor in GOOD.items()}},
        {"state_dict": GOOD, "best": np.float64(0.9), "history": np.arange(3.0), "rng": np.bool_(True)},
        {"state_dict": GOOD, "args": argparse.Namespace(lr=0.1, out=Path("x")), "optimizer": {"state": {0: {}}}},
    ],
    ids=lambda held: next(iter(held))[:40],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_trained_elsewhere_are_found_by_the_networks_own_names(
    tmp_path: Path, held: dict[str, Any], zipped: bool
) -> None:
    torch.save(held, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    model = backbone(1)
    head = model.head.weight.detach().clone()
    load_weights(model, tmp_path / "net.pth")
    assert same(model.backbone.state_dict(), GOOD)
    assert torch.equal(model.head.weight, head)
    assert lacks_head(model, tmp_path / "net.pth")
    start_from(other := backbone(1), tmp_path / "net.pth")
    assert same(other.backbone.state_dict(), GOOD)


def test_a_head_that_is_there_is_taken(tmp_path: Path) -> None:
    torch.save(named("module.", backbone(2).state_dict()), tmp_path / "net.pth")
    model = backbone(1)
    load_weights(model, tmp_path / "net.pth")
    assert same(model.state_dict(), backbone(2).state_dict())
    assert not lacks_head(model, tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({**named("student."), **named("teacher.")}, "2 sets of weights that fit, under student, teacher"),
        ({"first": GOOD, "second": dict(GOOD)}, "2 sets of weights that fit, under first, second"),
        ({**GOOD, **named("module.")}, "twice"),
        ({**GOOD, "layer5.weight": torch.zeros(1)}, "has layer5.weight too many"),
        ({**named("model."), "model.layer5.weight": torch.zeros(1)}, "has model.layer5.weight too many"),
    ],
)
def test_what_could_be_meant_is_never_guessed(tmp_path: Path, held: dict[str, Any], words: str) -> None:
    torch.save(held, tmp_path / "net.pth")
    assert words in refusal(load_weights, backbone(), tmp_path / "net.pth")


def test_weights_that_share_memory_are_saved(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight
            self.register_buffer("whole", torch.arange(6.0))
            self.register_buffer("every_other", self.get_buffer("whole")[::2])

    saved, loaded = Tied(), Tied()
    save_weights(saved, tmp_path / "net.safetensors", {})
    load_weights(loaded, tmp_path / "net.safetensors")
    assert same(loaded.state_dict(), saved.state_dict())
    assert loaded.second.weight is loaded.first.weight


# Networks that a record describes

EYES: dict[str, Any] = {"task": "eyes", "model": "eyenet", "model_settings": SMALL, "shape": [1, 16, 16], "classes": 0}


def test_a_network_is_built_from_its_record(tmp_path: Path) -> None:
    save_weights(net(3), tmp_path / "net.safetensors", EYES)
    assert same(recorded_network(tmp_path / "net.safetensors").state_dict(), net(3).state_dict())
    settings = {"depth": 10, "width": 4, "dimensions": 8, "head": "cosface"}
    record = {"task": "recognition", "model": "iresnet", "model_settings": settings, "shape": [3, 16, 16], "classes": 5}
    save_weights(backbone(3), tmp_path / "net.safetensors", record)
    assert same(recorded_network(tmp_path / "net.safetensors").state_dict(), backbone(3).state_dict())


CALL = {"model": "own_backbone", "model_settings": {"factory": "subprocess:call"}, "shape": [1, 16, 16], "classes": 2}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "does not say which model"),
        ({**CALL, "shape": ["touch", "ran", "x"]}, "its pictures are"),
        (CALL, "runs no code: name what makes its backbone, if you trust it: --arch"),
        ({**EYES, "model": "subprocess:call"}, "unknown model 'subprocess:call'"),
        ({**EYES, "model": ["eyenet"]}, "does not say which model"),
        ({**EYES, "model_settings": [1]}, "does not say which model"),
        ({**EYES, "model_settings": {**SMALL, "factory": "subprocess:call"}}, "unknown setting 'factory'"),
        ({**EYES, "model_settings": {**SMALL, "hidden": "5"}}, "hidden"),
        ({**EYES, "model_settings": {**SMALL, "hidden": True}}, "hidden"),
        ({**EYES, "model_settings": {**SMALL, "hidden": -1}}, "hidden"),
        ({**EYES, "model_settings": {**SMALL, "hidden": 10**9}}, "of another network"),
        ({**EYES, "model_settings": {**SMALL, "hidden": 10**30}}, "hidden"),
        ({**EYES, "model_settings": {**SMALL, "widths": [10**9] * 3}}, "no network that can be built"),
        ({**EYES, "shape": [1, 10**9, 16]}, "its pictures are"),
        ({**EYES, "shape": [1, 16]}, "its pictures are"),
        ({**EYES, "shape": [True, 16, 16]}, "its pictures are"),
        ({**EYES, "classes": "many"}, "expected a number of classes"),
        ({**EYES, "classes": -1}, "expected a number of classes"),
    ],
)
def test_a_record_chooses_a_built_in_network_by_numbers_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(net(), tmp_path / "net.safetensors", record)
    assert words in refusal(recorded_network, tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("text", ["[1]", "{", "null", "[" * 100_000, "\x1b[2J"])
def test_a_record_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "net.safetensors", {"efface": text})
    assert "the record in" in refusal(recorded_network, tmp_path / "net.safetensors")


def plain(shape: tuple[int, int, int]) -> nn.Module:
    """A backbone of a user's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))


def test_the_user_names_what_makes_a_backbone_of_their_own(tmp_path: Path) -> None:
    settings = {"factory": "somebody:elses", "dimensions": 8}
    record = {**CALL, "task": "recognition", "model_settings": settings}
    saved = MODELS["own_backbone"]((1, 16, 16), 2, factory="test_load:plain", dimensions=8)
    save_weights(saved, tmp_path / "net.safetensors", record)
    found = recorded_network(tmp_path / "net.safetensors", "test_load:plain")
    assert same(found.state_dict(), saved.state_dict())
    save_weights(net(), tmp_path / "net.safetensors", EYES)
    assert "leave --arch out" in refusal(recorded_network, tmp_path / "net.safetensors", "test_load:plain")


# What is refused


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path / "absent.safetensors", tmp_path):
        assert f"{path} does not exist" in refusal(read_weights, path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("name", ["net.safetensors", "zipped.pt", "legacy.pth"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, name: str, share: float) -> None:
    file = tmp_path / name
    if file.suffix == ".safetensors":
        save_weights(net(), file, {})
    else:
        torch.save(net().state_dict(), file, _use_new_zipfile_serialization=name.startswith("zipped"))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert str(file) in refusal(read_weights, file)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x89PNG and so on, but certainly no weights at all")
    assert str(file) in refusal(read_weights, file)


class Burglar:
    """Makes a folder when it is unpickled by whoever runs what a pickle says."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("write", [torch.save, lambda thing, file: file.write_bytes(pickle.dumps(thing, 2))])
def test_code_in_a_file_is_never_run(tmp_path: Path, write: Callable[[object, Path], None]) -> None:
    write({"state_dict": Burglar(tmp_path / "broken in")}, tmp_path / "net.pt")
    assert "no file of weights alone: reading it would run" in refusal(read_weights, tmp_path / "net.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        ([1, 2], "holds list"),
        (torch.zeros(3), "holds Tensor"),
        ({}, "holds dict"),
        ({"epoch": 3}, "holds dict"),
        ({"state_dict": {"weight": torch.zeros(2), "epoch": 3}}, "holds dict"),
        (nn.Linear(2, 2), "no file of weights"),
        ({"args": argparse.Namespace(lr=1)}, "holds dict"),
        ({"state_dict": {"w": torch.zeros(1)}, "lr": Fraction(1)}, "torch.load(FILE, weights_only=False)"),
    ],
)
def test_what_is_no_state_dict_is_refused_by_what_it_is(tmp_path: Path, thing: object, words: str) -> None:
    torch.save(thing, tmp_path / "net.pt")
    message = refusal(read_weights, tmp_path / "net.pt")
    assert words in message
    assert "state dict" in message


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_flipped_byte_is_a_line_or_another_number(tmp_path: Path, name: str) -> None:
    if name.endswith("pt"):
        torch.save(net().state_dict(), tmp_path / name)
    else:
        save_weights(net(), tmp_path / name, {})
    whole = (tmp_path / name).read_bytes()
    for place in range(0, 400, 3):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        with suppress(InputError):
            load_weights(net(), tmp_path / name)


def test_an_archive_is_not_unpacked_to_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2**20)}, tmp_path / "net.pt")
    with (
        zipfile.ZipFile(tmp_path / "net.pt") as whole,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    assert "compressed" in refusal(read_weights, tmp_path / "small.pt")


def test_weights_of_another_network_are_refused_by_the_names_that_differ(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1), "stem": torch.zeros(1)}, tmp_path / "net.pt")
    message = refusal(load_weights, net(), tmp_path / "net.pt")
    assert "lacks features.0.bias, features.3.bias, features.3.weight and 6 more" in message
    assert "has stem too many" in message


def test_weights_of_another_size_are_refused_by_name_and_shape_and_change_nothing(tmp_path: Path) -> None:
    save_weights(net(1, hidden=6), tmp_path / "net.safetensors", {})
    model = net(0)
    message = refusal(load_weights, model, tmp_path / "net.safetensors")
    assert "head.1.weight is (6, 96), expected (5, 96)" in message
    assert same(model.state_dict(), net(0).state_dict())
