"""What a person sees of a long run: bars where somebody watches, a line per finished piece where nobody does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Item = TypeVar("Item")


class Watch:
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


class Lines(Watch):
    """A line on stderr for each finished piece: for logs."""

    def __init__(self) -> None:
        self.done = self.expected = 0

    def expect(self, stages: int) -> None:
        self.expected = stages

    @contextmanager
    def stage(self, arm: str, name: str, seed: int) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.done += 1
        seconds = time.perf_counter() - start
        print(f"[{self.done}/{self.expected}] {_label(arm, name, seed)}: {seconds:.1f} s", file=sys.stderr, flush=True)

    def track(self, items: Iterable[Item], total: int, what: str = "preparing faces") -> Iterable[Item]:
        start = time.perf_counter()
        yield from items
        print(f"{what}: {total} parts, {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


class Bars(Watch):
    """Bars that move, for a person at a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.stages = progress.add_task("models", total=None, visible=False, speed="")
        self.faces = 0
        self.since = time.perf_counter()

    def expect(self, stages: int) -> None:
        self.progress.update(self.stages, total=stages, visible=True)

    @contextmanager
    def stage(self, arm: str, name: str, seed: int) -> Iterator[None]:
        self.faces, self.since = 0, time.perf_counter()
        self.progress.update(self.stages, description=_label(arm, name, seed), speed="")
        yield
        self.progress.advance(self.stages)

    def tick(self, faces: int) -> None:
        self.faces += faces
        rate = self.faces / max(time.perf_counter() - self.since, 1e-9)
        self.progress.update(self.stages, speed=f"{self.faces:,} faces, {rate:,.0f}/s")

    def track(self, items: Iterable[Item], total: int, what: str = "preparing faces") -> Iterable[Item]:
        task = self.progress.add_task(what, total=total, speed="")
        for item in items:
            yield item
            self.progress.advance(task)
        self.progress.remove_task(task)


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars if stderr is a terminal, lines if not."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)


def _label(arm: str, name: str, seed: int) -> str:
    return " · ".join(part for part in (arm, name, f"seed {seed}") if part)
