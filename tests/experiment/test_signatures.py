"""What counts as the same model: a signature changes with what the weights follow from, and with nothing else."""

import importlib
import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import efface
from efface.experiment import signatures
from efface.experiment.signatures import ASSESSING, TRAINING, code_of, code_of_packages
from efface.experiment.store import ModelStore, Network, Stage
from efface.methods import METHODS
from efface.models import MODELS


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


SOURCE = Path(efface.__file__).parent
JUDGED_BY = [
    file
    for name in ("audit", "evaluation", "experiment", "measures", "tasks")
    for file in sorted((SOURCE / name).rglob("*.py"))
    if file.name != "__init__.py"
]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that signatures are taken of, to be edited."""
    copy = tmp_path / "efface"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(efface, "__file__", str(copy / "__init__.py"))
    return copy


def edited(file: Path) -> None:
    """Change what a module computes."""
    file.write_text(file.read_text(encoding="utf-8") + "\nADDED = 7\n", encoding="utf-8")


@pytest.mark.parametrize("module", JUDGED_BY, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_results_follow_from_every_module_that_measures(module: Path, copied: Path) -> None:
    before = code_of_packages(*ASSESSING)
    edited(copied / module.relative_to(SOURCE))
    assert code_of_packages(*ASSESSING) != before


def test_results_follow_from_a_measure_that_was_added(copied: Path) -> None:
    before = code_of_packages(*ASSESSING)
    (copied / "measures" / "added.py").write_text("def added(x):\n    return 7 * x\n")
    after = code_of_packages(*ASSESSING)
    assert after != before
    edited(copied / "measures" / "added.py")
    assert code_of_packages(*ASSESSING) != after


@pytest.mark.parametrize("package", TRAINING)
def test_weights_follow_from_every_module_of_these_packages(package: str, copied: Path) -> None:
    for module in sorted((copied / package).glob("*.py")):
        before = code_of_packages(*TRAINING)
        edited(module)
        assert code_of_packages(*TRAINING) != before, module


def test_a_renamed_module_still_counts(copied: Path) -> None:
    before = code_of_packages(*TRAINING)
    (copied / "training" / "reweight.py").rename(copied / "training" / "weighting.py")
    assert code_of_packages(*TRAINING) != before


@pytest.mark.parametrize("method", sorted(METHODS))
def test_what_a_method_imports_from_other_methods_counts(method: str) -> None:
    """The modules that a method is built on are those that Python itself loads for it."""
    module = inspect.getmodule(METHODS[method])
    assert module is not None
    used = {value.__module__ for value in vars(module).values() if callable(value) and hasattr(value, "__module__")}
    mine = set(signatures._imported(inspect.getsource(module)))
    assert {name for name in used if name.startswith("efface.methods.")} - {module.__name__} <= mine


def stage(**change: Any) -> Stage:
    fields: dict[str, Any] = {
        "name": "a",
        "seed": 0,
        "settings": {"lr": 1.0},
        "signature_inputs": ["data"],
        "network": None,
        "make": None,
    }
    return Stage(**fields | change)


@pytest.mark.parametrize("change", [{"seed": 1}, {"settings": {"lr": 2.0}}, {"signature_inputs": ["others"]}])
def test_a_signature_changes_with_what_the_weights_follow_from(change: dict[str, Any]) -> None:
    assert stage(**change).signature != stage().signature
    assert stage(before=stage(**change)).signature != stage(before=stage()).signature


def test_made_once_and_given_back_alike(tmp_path: Path) -> None:
    calls = []

    def make(loader: object, checkpoint: Path) -> torch.nn.Module:
        calls.append(loader)
        return store.fresh(tiny)

    tiny = Network(lambda: MODELS["eyenet"]((1, 16, 16), widths=(2, 2, 2), hidden=2), {})
    store = ModelStore(tmp_path, torch.device("cpu"))
    one = stage(make=make, network=tiny)
    store.make(one)
    weights = store.model(one).state_dict()
    store.make(one)
    assert len(calls) == 1
    assert all(torch.equal(weights[name], value) for name, value in store.model(one).state_dict().items())
    assert store.bill(one)["faces"] == 0
    assert [each.name for each in stage(before=one, name="b").line] == ["a", "b"]
