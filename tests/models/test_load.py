"""Weights come in as data: every checkpoint met in practice is read, and nothing in one is ever run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import refusal
from efface.models import MODELS
from efface.models.load import WRAPPERS, load_weights, read_weights, save_weights

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


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_state_dict_is_unwrapped_whatever_stands_beside_it(tmp_path: Path, wrapper: str) -> None:
    torch.save({"epoch": 3, wrapper: net().state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt")[0], net().state_dict())


def test_names_lose_what_data_parallel_put_before_them(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.DataParallel(net()).state_dict()}, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt")[0], net().state_dict())
    load_weights(net(1), tmp_path / "net.pt")


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
    assert "no file of weights" in refusal(read_weights, tmp_path / "net.pt")
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
    ],
)
def test_what_is_no_state_dict_is_refused_by_what_it_is(tmp_path: Path, thing: object, words: str) -> None:
    torch.save(thing, tmp_path / "net.pt")
    message = refusal(read_weights, tmp_path / "net.pt")
    assert words in message
    assert "state dict" in message


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
