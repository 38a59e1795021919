"""A finished run is known by the state of its files, and by nothing less."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY
from efface.experiment.finished import FILE, is_finished, remember, state_before
from efface.plan.file import read_plan
from efface.plan.tables import Plan

ASKED: Mapping[str, Any] = {"threads": 1}


@pytest.fixture
def plans(tmp_path: Path) -> dict[str, Plan]:
    """Of photos in a folder, none of which is ever read here."""
    photos = tmp_path / "photos" / "ada"
    photos.mkdir(parents=True)
    for number in range(3):
        (photos / f"{number}.png").write_bytes(b"photo")
    (tmp_path / "detector.onnx").write_bytes(b"weights")
    return written(tmp_path, 'prepare = { eyes = "none", detector = "' + str(tmp_path / "detector.onnx") + '" }')


def written(folder: Path, more: str) -> dict[str, Plan]:
    (folder / "plan.toml").write_text(
        f"""
task = "eyes"
goal = "influence removed"
seeds = [0]
data = {{ name = "folders", path = "{folder / "photos"}", {more} }}
model = {{ name = "eyenet" }}
train = {{ epochs = 1 }}
forget = {{ share = 0.2 }}
""",
        encoding="utf-8",
    )
    return read_plan(folder / "plan.toml")


def left(out: Path, before: str | None) -> Path:
    """A folder as a finished run leaves it."""
    out.mkdir(exist_ok=True)
    for name in ("results.json", "report.html"):
        (out / name).write_text("{}", encoding="utf-8")
    remember(out, before)
    return out


def test_a_run_is_finished_as_long_as_nothing_changed(plans: dict[str, Plan], tmp_path: Path) -> None:
    before = state_before(plans, ASKED)
    out = left(tmp_path / "out", before)
    assert before is not None
    assert is_finished(out, state_before(plans, ASKED))
    assert not is_finished(out, None)
    assert not is_finished(tmp_path / "elsewhere", before)


def test_what_a_run_reads_is_seen_to_have_changed(
    plans: dict[str, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_before(plans, ASKED)
    seen = {before}
    photo = tmp_path / "photos" / "ada" / "1.png"

    def another(asked: Mapping[str, Any] = ASKED, of: dict[str, Plan] = plans) -> str | None:
        now = state_before(of, asked)
        assert now not in seen
        seen.add(now)
        return now

    times = photo.stat()
    photo.write_bytes(b"other")  # as long as before, and dated back
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert another() is not None
    (photo.parent / "3.png").write_bytes(b"photo")
    assert another() is not None
    photo.unlink()
    assert another() is not None
    (tmp_path / "detector.onnx").write_bytes(b"other weights")
    assert another() is not None
    assert another({"threads": 2}) is not None
    assert another(of=written(tmp_path, 'group = "A"')) is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "63")
    assert another() is not None
    monkeypatch.setattr("efface.experiment.finished.distributions", lambda: iter(()))
    assert another() is not None


def test_what_a_run_left_is_seen_to_have_changed(plans: dict[str, Plan], tmp_path: Path) -> None:
    before = state_before(plans, ASKED)
    spoils: list[Callable[[Path], object]] = [
        lambda out: (out / "results.json").write_text("[]", encoding="utf-8"),
        lambda out: (out / "report.html").unlink(),
        lambda out: (out / FILE).write_text("{", encoding="utf-8"),
        lambda out: (out / FILE).write_text(json.dumps({"read": before}), encoding="utf-8"),
        lambda out: (out / FILE).unlink(),
        lambda out: remember(out, None),
    ]
    for number, spoil in enumerate(spoils):
        out = left(tmp_path / f"out{number}", before)
        spoil(out)
        assert not is_finished(out, before)


def test_nothing_is_concluded_where_more_may_be_read(
    plans: dict[str, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"": plans[""].model_copy(update={"task": "my_code:task"})}
    assert state_before(own, ASKED) is None
    (tmp_path / "photos" / "away").symlink_to(tmp_path, target_is_directory=True)
    assert state_before(plans, ASKED) is None
    (tmp_path / "photos" / "away").unlink()
    assert state_before(plans, ASKED) is not None
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert state_before(plans, ASKED) is None


def test_a_finished_run_answers_without_torch(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(TINY.replace("seeds = [0, 1]", "seeds = [0]"), encoding="utf-8")
    line = ["efface", "run", "plan.toml", "--out", "out", "--threads", "1"]
    code = f"import sys; sys.argv = {line}; from efface.cli import app; app(standalone_mode=False); "
    code += "print('torch' in sys.modules)"
    said = [
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0].split() == ["out/report.html", "True"]
    assert said[1].split() == ["out/report.html", "False"]
