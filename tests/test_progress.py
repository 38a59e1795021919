"""Bars where somebody watches, lines where nobody does."""

import io
import re

import pytest
from rich import progress as rich_progress
from rich.console import Console

from efface.progress import Bars, Lines, Progress, show_progress


def work(progress: Progress) -> None:
    progress.expect(2)
    for name in ("original", "reference"):
        with progress.stage("arm", name, 3):
            progress.tick(64)
    assert list(progress.track(range(3), 3)) == [0, 1, 2]


def test_lines_say_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    work(Lines())
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\[1/2\] arm · original · seed 3: \d+\.\d s, \d+\.\d CPU s", lines[0])
    assert lines[1].startswith("[2/2] arm · reference · seed 3: ")
    assert lines[2].startswith("preparing faces: 3 parts")


def test_bars_move() -> None:
    with rich_progress.Progress(console=Console(file=io.StringIO(), force_terminal=True)) as shown:
        bars = Bars(shown)
        work(bars)
        assert shown.tasks[0].completed == 2
        assert "64 faces" in shown.tasks[0].fields["speed"]


def test_silence_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    work(Progress())
    assert capsys.readouterr().err == ""


def test_nobody_watches_a_pipe() -> None:
    with show_progress() as progress:
        assert isinstance(progress, Lines)
