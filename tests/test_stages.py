"""What counts as the same model: a signature changes with what the weights follow from, and with nothing else."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from efface.models import MODELS
from efface.stages import Network, Shelf, Stage, code_of


def hash_of(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """code_of a function in a module of this source."""
    (folder / "a_method.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "a_method", raising=False)
    importlib.invalidate_caches()
    return code_of(importlib.import_module("a_method").method)


def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    plain = hash_of("def method(x):\n    return x + 1\n", folders[0], monkeypatch)
    source = '"""A."""\n\ndef method(x):\n    """B."""\n    return (x +\n        1)  # c\n'
    dressed = hash_of(source, folders[1], monkeypatch)
    changed = hash_of("def method(x):\n    return x + 2\n", folders[2], monkeypatch)
    assert plain == dressed
    assert plain != changed


def test_a_method_counts_what_it_is_built_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = hash_of("def method(x):\n    return x\n", tmp_path, monkeypatch)
    other = tmp_path / "other"
    other.mkdir()
    source = "from efface.methods.finetune import finetune\n\ndef method(x):\n    return x\n"
    built = hash_of(source, other, monkeypatch)
    assert alone != built


def stage(**change: Any) -> Stage:
    fields: dict[str, Any] = {"name": "a", "seed": 0, "settings": {"lr": 1.0}, "ingredients": ["data"],
                              "network": None, "make": None}
    return Stage(**fields | change)


@pytest.mark.parametrize("change", [{"seed": 1}, {"settings": {"lr": 2.0}}, {"ingredients": ["others"]}])
def test_a_signature_changes_with_what_the_weights_follow_from(change: dict[str, Any]) -> None:
    assert stage(**change).signature != stage().signature
    assert stage(before=stage(**change)).signature != stage(before=stage()).signature


def test_made_once_and_given_back_alike(tmp_path: Path) -> None:
    calls = []

    def make(feed: object, checkpoint: Path) -> torch.nn.Module:
        calls.append(feed)
        return shelf.fresh(tiny)

    tiny = Network(lambda: MODELS["eyenet"]((1, 16, 16), widths=(2, 2, 2), hidden=2), {})
    shelf = Shelf(tmp_path, torch.device("cpu"))
    one = stage(make=make, network=tiny)
    shelf.make(one)
    weights = shelf.model(one).state_dict()
    shelf.make(one)
    assert len(calls) == 1
    assert all(torch.equal(weights[name], value) for name, value in shelf.model(one).state_dict().items())
    assert shelf.bill(one)["faces"] == 0
    assert [each.name for each in stage(before=one, name="b").line] == ["a", "b"]
