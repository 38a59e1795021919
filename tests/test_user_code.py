"""Modules of the working folder run when a plan names them, and at no other time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import efface
from conftest import TINY
from efface.experiment import workers

PACKAGES = str(Path(efface.__file__).parents[1])
OTHERS = ("bottleneck", "click", "filelock", "json", "numexpr", "numpy", "pyarrow", "queue", "torch", "typer")
"""Names that Python, pandas or this package import; some are not installed everywhere."""
MINE = """
import helper
import pandas
import sklearn.cluster

def forget(model, task, data, loader, *, epochs: int = 1):
    "Mine."
    import needed_later
    import queue
    return model
"""
PLAN = TINY.partition("[methods")[0].replace("seeds = [0, 1]", "seeds = [0]") + '[methods.mine]\nuse = "mine:forget"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder whose modules leave a mark when they run, and a plan that names one of them."""
    for name in (*OTHERS, "helper", "needed_later", "mine"):
        mark = f"open({str(tmp_path / ('ran ' + name))!r}, 'w').close()\n"
        (tmp_path / f"{name}.py").write_text(mark + (MINE if name == "mine" else ""))
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def ran(folder: Path) -> set[str]:
    """Modules of the folder that ran."""
    return {path.name.removeprefix("ran ") for path in folder.glob("ran *")}


def said(folder: Path, *words: str, module: bool = True) -> subprocess.CompletedProcess[str]:
    """The command in that folder, as a module or as the script that pip installs."""
    start = ["-m", "efface"] if module else ["-P", "-c", "from efface.cli import main; main()"]
    return subprocess.run(
        [sys.executable, *start, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PACKAGES},
        check=False,
    )


def test_a_check_runs_a_plans_module_only_if_trusted(folder: Path) -> None:
    done = said(folder, "check", "plan.toml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "names code of its own, mine:forget" in done.stderr
    assert "--trust" in done.stderr
    assert ran(folder) == set()
    done = said(folder, "check", "plan.toml", "--trust")
    assert done.returncode == 0, done.stderr
    assert ran(folder) == {"mine", "helper"}


@pytest.mark.slow
@pytest.mark.parametrize("module", [True, False])
def test_a_run_runs_what_the_plan_names_and_what_that_imports(folder: Path, module: bool) -> None:
    done = said(folder, "run", "plan.toml", "--out", "out", "--threads", "1", module=module)
    assert done.returncode == 0, done.stderr
    assert ran(folder) == {"mine", "helper", "needed_later"}


def test_no_module_of_the_working_folder_runs_where_none_is_named(folder: Path) -> None:
    from PIL import Image

    (folder / "photos" / "ann").mkdir(parents=True)
    Image.new("L", (32, 32)).save(folder / "photos" / "ann" / "a.png")
    for words in (
        ("prepare", "folder", "photos", "--out", "faces", "--eyes", "none"),
        ("quality", "photos", "--out", "quality"),
        ("list",),
    ):
        done = said(folder, *words)
        assert done.returncode == 0, done.stderr
    assert ran(folder) == set()


def test_processes_that_train_shadow_models_never_look_into_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", str(folder), *sys.path])
    assert "" not in workers.importable()
    assert str(folder) not in workers.importable()
    order = {"path": workers.importable(), "device": "no such device"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", workers.START], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(order) + "\n")  # and stays open: a process ends at once when it closes
        process.stdin.flush()
        said_last = process.stderr.read()
    assert "no such device" in said_last, "everything was imported, and the order begun"
    assert ran(folder) == set()


def test_this_package_is_found_where_it_lies_in_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PACKAGES)
    monkeypatch.setattr(sys, "path", [PACKAGES, *(place for place in sys.path if place != PACKAGES)])
    assert workers.importable()[-1] == PACKAGES
