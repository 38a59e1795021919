"""What a person sees of a long run: bars where somebody watches, a line per finished piece where nobody does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich import progress as rich_progress
from rich.console import Console

Item = TypeVar("Item")
Say = Callable[[str], None]
"""What is handed a line about what is being done."""


class Progress:
    """Silence: what a library call shows."""

    def expect(self, stages: int) -> None:
        """So many models will be made."""

    @contextmanager
    def stage(self, arm: str, name: str, seed: int) -> Iterator[None]:
        """One of them is made inside."""
        yield

    def tick(self, faces: int) -> None:
        """So many faces were handed out."""

    def track(self, items: Iterable[Item], total: int, what: str = "preparing faces") -> Iterable[Item]:
        """Items of another long work, shown as they pass."""
        return items

    def say(self, line: str) -> None:
        """A line about what was done."""


class Lines(Progress):
    """A line on stderr for each finished piece: for logs."""

    def __init__(self) -> None:
        self.done = self.expected = 0

    def expect(self, stages: int) -> None:
        self.expected = stages

    @contextmanager
    def stage(self, arm: str, name: str, seed: int) -> Iterator[None]:
        start, cpu_start = time.perf_counter(), time.process_time()
        yield
        self.done += 1
        took = f"{time.perf_counter() - start:.1f} s, {time.process_time() - cpu_start:.1f} CPU s"
        print(f"[{self.done}/{self.expected}] {_label(arm, name, seed)}: {took}", file=sys.stderr, flush=True)

    def track(self, items: Iterable[Item], total: int, what: str = "preparing faces") -> Iterable[Item]:
        start = time.perf_counter()
        yield from items
        print(f"{what}: {total} parts, {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class Bars(Progress):
    """Bars that move, for a person at a terminal."""

    def __init__(self, bars: rich_progress.Progress) -> None:
        self.bars = bars
        self.stages = bars.add_task("models", total=None, visible=False, speed="")
        self.faces = 0
        self.since = time.perf_counter()

    def expect(self, stages: int) -> None:
        self.bars.update(self.stages, total=stages, visible=True)

    @contextmanager
    def stage(self, arm: str, name: str, seed: int) -> Iterator[None]:
        self.faces, self.since = 0, time.perf_counter()
        self.bars.update(self.stages, description=_label(arm, name, seed), speed="")
        yield
        self.bars.advance(self.stages)

    def tick(self, faces: int) -> None:
        self.faces += faces
        rate = self.faces / max(time.perf_counter() - self.since, 1e-9)
        self.bars.update(self.stages, speed=f"{self.faces:,} faces, {rate:,.0f}/s")

    def track(self, items: Iterable[Item], total: int, what: str = "preparing faces") -> Iterable[Item]:
        task = self.bars.add_task(what, total=total, speed="")
        for item in items:
            yield item
            self.bars.advance(task)
        self.bars.remove_task(task)

    def say(self, line: str) -> None:
        self.bars.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Bars if stderr is a terminal, lines if not."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("{task.fields[speed]}"),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:
        yield Bars(bars)


def _label(arm: str, name: str, seed: int) -> str:
    return " · ".join(part for part in (arm, name, f"seed {seed}") if part)
