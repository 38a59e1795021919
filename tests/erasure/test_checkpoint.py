"""Weights go back into the file they came from, whatever its layout, and nothing else in it changes."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import stat
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from conftest import refusal
from efface.erasure.checkpoint import open_checkpoint, write_checkpoint
from efface.erasure.contract import ContractedNetwork, InputContract
from efface.library import forget
from efface.models.heads import make_head
from efface.models.recogniser import Recogniser


class Small(nn.Module):
    """A network of somebody's: embeddings of 8 dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.embed = nn.Linear(4, 8)

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.embed(self.bn(self.conv(images)).mean((2, 3)))
        return embeddings


def network(seed: int = 0) -> Small:
    """One whose weights follow from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small()


GOOD = network().state_dict()
HEAD = torch.arange(40.0).reshape(5, 8) + 1


def named(before: str, weights: Any = GOOD) -> OrderedDict[str, Tensor]:
    """The weights with something before each name."""
    return OrderedDict((before + name, tensor) for name, tensor in weights.items())


def trained() -> dict[str, Any]:
    """The state of an optimiser that made steps."""
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 3, 8, 8)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


class Wrapped(nn.Module):
    """A whole model as training code has it: a network, a head, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = network()
        self.head = nn.Linear(8, 5)
        self.register_buffer("steps", torch.tensor(7))


def lightning() -> dict[str, Any]:
    """As PyTorch Lightning saves."""
    return {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {**named("model.backbone."), "model.arcface.weight": HEAD, "criterion.weight": torch.ones(5)},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.2)}},
        "optimizer_states": [trained()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "margin": 0.5},
    }


LAYOUTS: dict[str, Callable[[], Any]] = {
    "plain": lambda: GOOD,
    "nested": lambda: {"state_dict": GOOD, "epoch": 3},
    "net_state_dict": lambda: {"iters": 1000, "net_state_dict": GOOD},
    "model": lambda: {"model": GOOD, "optimizer": trained(), "epoch": 3},
    "two deep": lambda: {"checkpoint": {"student": {"state_dict": GOOD}}, "version": "1"},
    "DataParallel": lambda: named("module."),
    "compiled": lambda: {"state_dict": named("_orig_mod.module.")},
    "Lightning": lightning,
    "recogniser": lambda: Wrapped().state_dict(),
    "head beside": lambda: {**GOOD, "arcface.weight": HEAD},
    "head apart": lambda: {"state_dict_backbone": GOOD, "state_dict_softmax_fc": {"weight": HEAD}},
    "head of columns": lambda: {"backbone": GOOD, "kernel": HEAD.T.contiguous()},
    "Namespace": lambda: {
        "state_dict": GOOD,
        "args": argparse.Namespace(lr=0.1, out=Path("x")),
        "best": np.float64(0.9),
        "history": np.arange(3.0),
    },
    "half": lambda: {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in GOOD.items()},
    "bfloat16": lambda: {
        "model": {name: one.bfloat16() if one.is_floating_point() else one for name, one in GOOD.items()}
    },
    "double": lambda: {name: one.double() if one.is_floating_point() else one for name, one in GOOD.items()},
    "without counters": lambda: {name: one for name, one in GOOD.items() if "num_batches" not in name},
    "parameters": lambda: OrderedDict((name, nn.Parameter(one, one.is_floating_point())) for name, one in GOOD.items()),
    "views of one memory": lambda: views(),
    "columns first": lambda: {name: one.T.contiguous().T if one.dim() == 2 else one for name, one in GOOD.items()},
}


def views() -> dict[str, Tensor]:
    """The weights as parts of one long tensor, a number of somebody else's between them."""
    floats = [name for name in GOOD if GOOD[name].is_floating_point()]
    lengths = [GOOD[name].numel() + 1 for name in floats]
    whole = torch.full((sum(lengths),), 77.0)
    parts = torch.split(whole, lengths)
    for name, part in zip(floats, parts, strict=True):
        part[:-1] = GOOD[name].flatten()
    seen = {name: part[:-1].view(GOOD[name].shape) for name, part in zip(floats, parts, strict=True)}
    return {name: seen.get(name, tensor) for name, tensor in GOOD.items()}


def flat(found: Any, where: str = "") -> dict[str, Any]:
    """Every value of nested tables, by where it is."""
    pairs = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else None
    if pairs is None:
        return {where: found}
    return {place: one for name, value in pairs for place, one in flat(value, f"{where}.{name}").items()}


def read(path: Path) -> dict[str, Any]:
    """All that a file holds, by where it is."""
    return flat(torch.load(path, weights_only=False))


def changed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other weights of the same shapes."""
    return {
        name: tensor + (torch.linspace(0.5, 1, tensor.numel()).view(tensor.shape) if tensor.is_floating_point() else 3)
        for name, tensor in weights.items()
    }


def equal(first: object, second: object) -> bool:
    """Whether two values of a checkpoint are the same, to the bit."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.dtype == second.dtype and first.stride() == second.stride() and torch.equal(first, second)
    return str(first) == str(second) and type(first) is type(second)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_comes_back_as_it_was_with_other_weights(tmp_path: Path, layout: str, zipped: bool) -> None:
    file, out = tmp_path / "net.pth", tmp_path / "erased.pth"
    torch.save(LAYOUTS[layout](), file, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(file, network(1))
    assert found.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    for name, tensor in found.weights.items():
        assert torch.allclose(tensor.float(), GOOD[name].float(), atol=5e-3)
        assert tensor.dtype not in (torch.half, torch.bfloat16)
    network(1).load_state_dict(found.weights)

    new = changed(found.weights)
    assert write_checkpoint(found, new, out) == hashlib.sha256(out.read_bytes()).hexdigest()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["erased.pth", "net.pth"]
    before, after = read(file), read(out)
    assert list(before) == list(after)
    mine = {f".{place}": new[name] for name, place in found.names.items()}
    assert mine.keys() <= after.keys()
    for place, value in after.items():
        if place in mine:
            assert torch.equal(value, mine[place].to(value.dtype))
            assert value.dtype == before[place].dtype
            assert value.stride() == before[place].stride()
        else:
            assert equal(value, before[place])
    again = open_checkpoint(out, loaded := network(1))
    loaded.load_state_dict(again.weights)
    assert (again.beside, again.stale) == (found.beside, found.stale)
    assert all(torch.equal(again.heads[name], head) for name, head in found.heads.items())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_weights_give_the_same_file(tmp_path: Path, layout: str, zipped: bool) -> None:
    file, out = tmp_path / "net.pth", tmp_path / "again.pth"
    torch.save(LAYOUTS[layout](), file, _use_new_zipfile_serialization=zipped)
    found, model = open_checkpoint(file, network(1)), network(1)
    model.load_state_dict(found.weights, strict=False)
    assert write_checkpoint(found, model.state_dict(), out) == found.digest
    assert out.read_bytes() == file.read_bytes()


def test_the_archive_is_whole_and_its_pickle_untouched(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "net.ckpt")
    found = open_checkpoint(tmp_path / "net.ckpt", network())
    write_checkpoint(found, changed(found.weights), tmp_path / "out.ckpt", emptied_rows={})
    with zipfile.ZipFile(tmp_path / "net.ckpt") as before, zipfile.ZipFile(tmp_path / "out.ckpt") as after:
        assert after.testzip() is None
        assert [one.filename for one in after.infolist()] == [one.filename for one in before.infolist()]
        assert after.read("net/data.pkl") == before.read("net/data.pkl")


def test_an_archive_without_checksums_is_written_without_them(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(GOOD, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    found = open_checkpoint(tmp_path / "net.pth", network(1))
    assert write_checkpoint(found, found.weights, tmp_path / "same.pth") == found.digest
    write_checkpoint(found, new := changed(found.weights), tmp_path / "out.pth")
    assert all(torch.equal(one, new[name]) for name, one in torch.load(tmp_path / "out.pth").items())


def test_what_stands_beside_a_network_is_named(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "net.ckpt")
    found = open_checkpoint(tmp_path / "net.ckpt", network())
    assert found.stripped == "stripped: 'state_dict.model.backbone.'"
    assert list(found.heads) == ["state_dict.model.arcface.weight"]
    assert torch.equal(found.heads["state_dict.model.arcface.weight"], HEAD)
    assert found.stale == ("optimizer_states.0",)
    assert "optimizer_states (state of an optimiser)" in found.beside
    assert "state_dict.criterion.weight (5,)" in found.beside
    assert {"epoch", "hyper_parameters", "pytorch-lightning_version"} <= set(found.beside)
    assert not any("conv" in one for one in found.beside)


@pytest.mark.parametrize(
    ("layout", "head"),
    [
        ("head beside", "arcface.weight"),
        ("head apart", "state_dict_softmax_fc.weight"),
        ("head of columns", "kernel"),
        ("Lightning", "state_dict.model.arcface.weight"),
        ("recogniser", "head.weight"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_rows_of_a_head_are_emptied(tmp_path: Path, layout: str, head: str, zipped: bool) -> None:
    file, out = tmp_path / "net.pth", tmp_path / "out.pth"
    torch.save(LAYOUTS[layout](), file, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(file, network())
    assert list(found.heads) == [head]
    write_checkpoint(found, found.weights, out, emptied_rows={head: [1, 3]})
    before, after = read(file)[f".{head}"], read(out)[f".{head}"]
    rows, was = (after.T, before.T) if layout == "head of columns" else (after, before)
    assert not rows[[1, 3]].any()
    assert torch.equal(rows[[0, 2, 4]], was[[0, 2, 4]])
    assert was[1].numpy().tobytes() in file.read_bytes() or layout == "head of columns"
    assert was[1].numpy().tobytes() not in out.read_bytes()
    if layout == "recogniser":
        assert read(out)[".head.bias"].ne(0).tolist() == [True, False, True, False, True]
    assert "has no head 'heda'" in refusal(write_checkpoint, found, found.weights, out, emptied_rows={"heda": [1]})
    assert "no row 5" in refusal(write_checkpoint, found, found.weights, out, emptied_rows={head: [5]})


def test_what_an_optimiser_keeps_of_a_head_is_emptied_too(tmp_path: Path) -> None:
    model = Wrapped()
    optimiser = torch.optim.Adam(model.parameters())
    model.head(model.backbone(torch.rand(4, 3, 8, 8))).square().sum().backward()
    optimiser.step()
    torch.save({"model": model.state_dict(), "optimizer": optimiser.state_dict()}, tmp_path / "net.pth")
    found = open_checkpoint(tmp_path / "net.pth", network())
    write_checkpoint(found, found.weights, tmp_path / "out.pth", emptied_rows={"model.head.weight": [2]})
    before, after = read(tmp_path / "net.pth"), read(tmp_path / "out.pth")
    for place, value in after.items():
        if isinstance(value, Tensor) and value.shape == (5, 8):
            assert [bool(row.any()) for row in value] == [True, True, False, True, True]
        elif place != ".model.head.bias":
            assert equal(value, before[place])


def test_safetensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    file, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    half = {name: one.half() if one.dim() > 1 else one for name, one in named("backbone.").items()}
    save_file({**half, "head.weight": HEAD}, file, {"format": "pt", "note": "é"})
    found = open_checkpoint(file, network())
    new = changed(found.weights)
    write_checkpoint(found, new, out, emptied_rows={"head.weight": [0]})
    with safe_open(file, "pt") as before, safe_open(out, "pt") as after:
        assert after.metadata() == before.metadata() == {"format": "pt", "note": "é"}
        assert not after.get_tensor("head.weight")[0].any()
        for name, tensor in new.items():
            assert torch.equal(after.get_tensor(f"backbone.{name}"), tensor.to(half[f"backbone.{name}"].dtype))
    length = int.from_bytes(file.read_bytes()[:8], "little") + 8
    assert file.read_bytes()[:length] == out.read_bytes()[:length]
    assert json.loads(out.read_bytes()[8:length])


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_tied_weights_are_written_once(tmp_path: Path, kind: str) -> None:
    file, out, model = tmp_path / "net.pth", tmp_path / "out.pth", Tied()
    if kind == "safetensors":
        save_file({"second.weight": model.second.weight.detach()}, file)
    else:
        torch.save(model.state_dict(), file, _use_new_zipfile_serialization=kind == "zip")
    found = open_checkpoint(file, Tied())
    assert set(found.weights) == {"first.weight", "second.weight"}
    new = changed({"first.weight": found.weights["first.weight"]})["first.weight"]
    write_checkpoint(found, {"first.weight": new, "second.weight": new}, out)
    assert torch.equal(open_checkpoint(out, Tied()).weights["first.weight"], new)
    apart = {"first.weight": new, "second.weight": new + 1}
    assert "shares memory" in refusal(write_checkpoint, found, apart, out)


def test_a_second_name_for_the_same_memory_is_no_second_network(tmp_path: Path) -> None:
    torch.save({"state_dict": GOOD, "ema": dict(GOOD)}, tmp_path / "net.pth")
    found = open_checkpoint(tmp_path / "net.pth", network())
    write_checkpoint(found, new := changed(found.weights), tmp_path / "out.pth")
    after = torch.load(tmp_path / "out.pth", weights_only=True)
    assert all(torch.equal(after["ema"][name], new[name]) for name in new)


COPY = {name: tensor.clone() for name, tensor in GOOD.items()}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"state_dict": GOOD, "state_dict_ema": COPY}, "2 sets of weights that fit, under state_dict, state_dict_ema"),
        ({**named("student."), **named("teacher.", COPY)}, "2 sets of weights that fit, under student, teacher"),
        ({**GOOD, "layer5.weight": torch.zeros(3, 3)}, "layer5.weight too many"),
        ({name: one for name, one in GOOD.items() if name != "bn.bias"}, "lacks bn.bias"),
        ({**GOOD, "embed.weight": torch.zeros(8, 5)}, "embed.weight is (8, 5), expected (8, 4)"),
        ({**GOOD, "embed.weight": torch.zeros(8, 4).to_sparse()}, "embed.weight"),
        ({"epoch": 3}, "not a state dict"),
    ],
)
def test_a_file_of_no_or_of_several_such_networks_is_refused(tmp_path: Path, held: dict[str, Any], words: str) -> None:
    torch.save(held, tmp_path / "net.pth")
    assert words in refusal(open_checkpoint, tmp_path / "net.pth", network())


def test_numbers_that_cannot_be_written_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    file, out = tmp_path / "net.pth", tmp_path / "out.pth"
    torch.save(LAYOUTS["half"](), file)
    found = open_checkpoint(file, network())
    for value, words in ((1e6, "not finite in float16"), (math.nan, "not finite"), (math.inf, "not finite")):
        new = {**found.weights, "embed.bias": torch.full((8,), value)}
        assert words in refusal(write_checkpoint, found, new, out)
    less = {name: one for name, one in found.weights.items() if name != "bn.bias"}
    assert f"bn.bias for {out} is missing" in refusal(write_checkpoint, found, less, out)
    assert "expected (8,)" in refusal(write_checkpoint, found, {**found.weights, "embed.bias": torch.zeros(3)}, out)
    assert "another name" in refusal(write_checkpoint, found, found.weights, file)
    file.write_bytes(file.read_bytes() + b" ")
    assert "changed since it was opened" in refusal(write_checkpoint, found, found.weights, out)
    assert [one.name for one in tmp_path.iterdir()] == ["net.pth"]


def test_numbers_that_stay_keep_their_bits(tmp_path: Path) -> None:
    torch.save({name: one.double() / 3 if one.dim() else one for name, one in GOOD.items()}, tmp_path / "net.pth")
    found, model = open_checkpoint(tmp_path / "net.pth", network()), network()
    model.load_state_dict(found.weights)
    model.embed.bias.data[0] += 1
    write_checkpoint(found, model.state_dict(), tmp_path / "out.pth")
    before, after = read(tmp_path / "net.pth"), read(tmp_path / "out.pth")
    assert {place for place in before if not torch.equal(before[place], after[place])} == {".embed.bias"}
    assert before[".embed.bias"].ne(after[".embed.bias"]).tolist() == [True] + 7 * [False]


def test_a_method_works_on_a_contracted_network_and_its_weights_go_back(tmp_path: Path) -> None:
    torch.save({"state_dict": named("module.")}, tmp_path / "net.pth")
    found = open_checkpoint(tmp_path / "net.pth", inside := network(1))
    inside.load_state_dict(found.weights)
    contract = InputContract((16, 16), mean=(0.0,), std=(255.0,), channels="bgr", flip=True)
    model = Recogniser(ContractedNetwork(inside, contract), make_head("arcface", 4, 8, None, 16.0))
    rng = np.random.default_rng(0)
    faces = [(rng.integers(0, 256, (3, 16, 16), dtype=np.uint8), row // 3, f"person {row // 3}") for row in range(12)]
    after = forget(model, task="recognition", forget=faces[:3], retain=faces[3:], method="finetune", epochs=1)
    assert isinstance(after, Recogniser)
    learnt = after.get_submodule("backbone.network").state_dict()
    write_checkpoint(found, learnt, tmp_path / "out.pth")
    again = open_checkpoint(tmp_path / "out.pth", network(1)).weights
    assert all(torch.equal(again[name], tensor) for name, tensor in learnt.items())
    assert not torch.equal(again["conv.weight"], GOOD["conv.weight"])
