"""A person of known photos and vectors, and stores in which copies of them are planted among others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from efface.data.vectors import units
from efface.sweep.sweep import FOUND, Swept, sweep

SIDE, DIMENSIONS = 8, 192


class Net(nn.Module):
    """Two photos are as alike as their pixels are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat: torch.Tensor = (images * self.weight).flatten(1)
        return flat


def build(_shape: tuple[int, int, int]) -> nn.Module:
    """As --arch names it."""
    return Net()


def picture(person: int, photo: int, side: int = 64) -> Image.Image:
    """A person is a pattern, a photo that pattern and noise."""
    own = np.random.default_rng([7, person]).normal(0, 45, (SIDE, SIDE, 3))
    pixels = 128 + own + np.random.default_rng([8, person, photo]).normal(0, 15, own.shape)
    small = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return small.resize((side, side), Image.Resampling.NEAREST)


def vectors_of(person: int, photos: Sequence[int]) -> NDArray[np.float32]:
    """(n, 192) what `Net` makes of these photos, of length one."""
    faces = np.stack([np.asarray(picture(person, photo, SIDE)).transpose(2, 0, 1) for photo in photos])
    return units((faces.reshape(len(faces), -1).astype(np.float32) - 127.5) / 127.5)


def others(count: int, seed: int = 0) -> NDArray[np.float32]:
    """(n, 192) vectors of nobody in particular."""
    return units(np.random.default_rng(seed).normal(size=(count, DIMENSIONS)))


def among(mine: NDArray[np.float32], count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of the person strewn among others, and the rows at which they lie."""
    rows = np.sort(np.random.default_rng(seed).choice(count + len(mine), len(mine), replace=False))
    everything = np.empty((count + len(mine), mine.shape[1]), np.float32)
    mask = np.zeros(len(everything), bool)
    mask[rows] = True
    everything[mask], everything[~mask] = mine, others(count, seed)
    return everything, rows


class Office:
    """A folder with examples of person 0, a model, and a stores.toml that is written by `stores`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        torch.save(Net().state_dict(), folder / "net.pt")
        (folder / "examples").mkdir()
        for photo in range(4):
            picture(0, photo).save(folder / "examples" / f"{photo}.png")

    def stores(self, *stores: dict[str, Any]) -> None:
        """Write stores.toml."""

        def word(value: Any) -> str:
            if isinstance(value, bool):
                return str(value).lower()
            return "[" + ", ".join(map(word, value)) + "]" if isinstance(value, list) else repr(value)

        tables = [["[[store]]", *(f"{name} = {word(value)}" for name, value in one.items())] for one in stores]
        (self.folder / "stores.toml").write_text("\n".join("\n".join(lines) for lines in tables))

    def sweep(self, **given: Any) -> dict[str, Swept]:
        """By the name of the store."""
        done = sweep(
            self.folder / "examples",
            self.folder / "stores.toml",
            self.folder / "out",
            model=self.folder / "net.pt",
            arch=f"{__name__}:build",
            size=(SIDE, SIDE),
            **given,
        )
        return {one.store: one for one in done}

    @property
    def table(self) -> pd.DataFrame:
        """What was found."""
        return pd.read_csv(self.folder / "out" / FOUND, keep_default_na=False)

    def accept(self, which: pd.Series | None = None) -> Path:
        """Accept everything that is suggested, or these rows."""
        table = self.table
        table["accept"] = np.where(table["suggested"] == "yes" if which is None else which, "yes", "no")
        path = self.folder / "accepted.csv"
        table.to_csv(path, index=False)
        return path

    def swept(self) -> dict[str, Swept]:
        """Find, accept what is suggested, and delete."""
        self.sweep()
        return self.sweep(apply=self.accept(), by="officer 7")
