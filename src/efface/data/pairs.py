"""Files of verification pairs: LFW's `pairs.txt`, and insightface's `.bin` sets, read without running their code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.names import normal
from efface.data.photos import Unusable, decode
from efface.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """p pairs of photos by their keys."""

    first: Array
    """(p,) str"""
    second: Array
    same: NDArray[np.bool_]
    """(p,) whether both show one person"""
    fold: NDArray[np.int64]
    """(p,)"""


def read_pairs(path: Path) -> Pairs:
    """LFW's `pairs.txt`: a header with the number of folds and of pairs of each kind in each (or, as in
    `pairsDevTest.txt`, only the latter), then `name n1 n2` for one person and `name1 n1 name2 n2` for two."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"pairs file {path} cannot be read: {error}") from None
    if not lines or not all(word.isdigit() for word in lines[0]) or len(lines[0]) > 2:
        raise InputError(f"{path} does not begin as LFW's pairs.txt: expected a line like '10 300'")
    folds, each = (int(word) for word in (["1", *lines[0]] if len(lines[0]) == 1 else lines[0]))
    if len(lines) - 1 != 2 * folds * each or not each:
        raise InputError(f"{path} announces {folds} folds of 2 x {each} pairs but has {len(lines) - 1} lines of pairs")
    first, second, same = [], [], []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) not in (3, 4) or not all(word.isdigit() for word in (line[1], line[-1])):
            raise InputError(f"{path} line {number} is '{' '.join(line)}': expected name n1 n2, or name1 n1 name2 n2")
        first.append(photo(line[0], line[1]))
        second.append(photo(line[0] if len(line) == 3 else line[2], line[-1]))
        same.append(len(line) == 3)
    return Pairs(np.array(first), np.array(second), np.array(same), np.arange(len(same)) // (2 * each))


def places(pairs: Pairs, keys: Sequence[str]) -> NDArray[np.int64]:
    """(2, p) where the photos of each pair stand among `keys`, however their names are spelt; -1 for one that does
    not."""
    row_of = {normal(key): row for row, key in reversed(list(enumerate(keys)))}
    return np.array([[row_of.get(key, -1) for key in side.tolist()] for side in (pairs.first, pairs.second)])


def photo(name: str, number: str) -> str:
    """A photo of LFW as its reader calls it."""
    return normal(f"{name}/{name}_{int(number):04d}")


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""All that a real set names; anything else is code that has no business in it."""


class Restricted(pickle.Unpickler):
    """Reads lists, bytes, truths and arrays, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_bin(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images (2p, 3, h, w) RGB, resized to `size` (h, w), and same (p,); pair i is the images 2i and 2i + 1.

    Raises InputError for a broken or foreign pickle, an odd number of images and an image that cannot be decoded.
    """
    try:
        with path.open("rb") as file:
            found = Restricted(file, encoding="bytes").load()
    except OSError as error:
        raise InputError(f"verification set {path} cannot be read: {error}") from None
    except Exception as error:  # a broken pickle raises anything at all
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no verification set of insightface: {reason}") from None
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise InputError(f"{path} is no verification set of insightface: expected a pair (images, whether the same)")
    photos, same = list(found[0]), np.array([bool(one) for one in found[1]])
    if len(photos) % 2 or len(photos) != 2 * len(same):
        raise InputError(f"{path} has {len(photos)} images for {len(same)} pairs: expected {2 * len(same)}, two each")
    if same.all() or not same.any():
        raise InputError(f"{path} has {len(same)} pairs, all of one kind: same and different people are needed")
    images = np.empty((len(photos), 3, *size), np.uint8)
    for place, one in enumerate(photos):
        images[place] = decoded(one, size, f"{path}: image {place}")
    return images, same


def decoded(photo: Any, size: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """One image (3, h, w) from the bytes of a picture file, or from an array of them or of pixels (h, w, 3)."""
    from PIL import Image

    try:
        if isinstance(photo, np.ndarray) and photo.ndim == 3:
            colour = Image.fromarray(photo).convert("RGB")
        else:
            colour = decode(photo.tobytes() if isinstance(photo, np.ndarray) else photo, where, upright=True)
    except Unusable:
        raise
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where} cannot be decoded: {' '.join(str(error).split())[:120]}") from None
    if colour.size != size[::-1]:
        colour = colour.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(colour).transpose(2, 0, 1)
