"""Files of verification pairs: LFW's `pairs.txt`, and insightface's `.bin` sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.data.names import among
from efface.data.photos import Unusable, decode, refuse_unusable
from efface.data.plain_pickle import content_of, read_plain_pickle
from efface.errors import InputError, refusing
from efface.files import read_bytes, read_lines, whole_number
from efface.memory import check_memory


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
    `pairsDevTest.txt`, only the latter), then `name n1 n2` for one person and `name1 n1 name2 n2` for two.

    Words are separated by tabs, so that a name may hold blanks, or by blanks in lines without a tab.
    """
    lines = [words_of(line) for line in read_lines(path, "pairs file")]
    numbers = [whole_number(word) for word in " ".join(lines[0]).split()] if lines else []
    counts = [number for number in numbers if number is not None]
    if len(counts) != len(numbers) or len(counts) not in (1, 2):
        raise InputError(f"{path} does not begin as LFW's pairs.txt: expected a line like '10 300'")
    folds, each = (1, *counts)[-2:]
    if len(lines) - 1 != 2 * folds * each or not each:
        raise InputError(f"{path} announces {folds} folds of 2 x {each} pairs but has {len(lines) - 1} lines of pairs")
    first, second, same = [], [], []
    for number, line in enumerate(lines[1:], start=2):
        one, other = (whole_number(line[place]) if len(line) in (3, 4) else None for place in (1, -1))
        if one is None or other is None:
            raise InputError(f"{path} line {number} is '{' '.join(line)}': expected name n1 n2, or name1 n1 name2 n2")
        first.append(photo(line[0], one))
        second.append(photo(line[0] if len(line) == 3 else line[2], other))
        same.append(len(line) == 3)
    for fold, kinds in enumerate(np.reshape(same, (folds, 2 * each)), start=1):
        if kinds.sum() != each:
            raise InputError(
                f"{path} announces {each} pairs of one person in each fold but has {kinds.sum()} in fold {fold}: a "
                "name with a blank needs tabs around it"
            )
    return Pairs(np.array(first), np.array(second), np.array(same), np.arange(len(same)) // (2 * each))


def words_of(line: str) -> list[str]:
    """What stands between the tabs of a line or, where it has none, between its blanks."""
    line = line.strip()
    return [word.strip() for word in line.split("\t")] if "\t" in line else line.split()


def places(pairs: Pairs, keys: Sequence[str]) -> NDArray[np.int64]:
    """(2, p) where the photos of each pair stand among `keys`, however their names are spelt; -1 for one that does
    not."""
    row_of: dict[str | None, int] = {key: row for row, key in enumerate(keys)}
    find = among(keys)
    return np.array([[row_of.get(find(key), -1) for key in side.tolist()] for side in (pairs.first, pairs.second)])


def photo(name: str, number: int) -> str:
    """A photo of LFW as its reader calls it."""
    return f"{name}/{name}_{number:04d}"


def read_bin(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images (2p, 3, h, w) RGB, resized to `size` (h, w), and same (p,); pair i is the images 2i and 2i + 1.

    Raises InputError for a broken or foreign pickle, an odd number of images and an image that cannot be decoded.
    """
    data = read_bytes(path, "verification set")
    with refusing(f"{path} is no verification set of insightface"):
        found = read_plain_pickle(data)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise InputError(f"{path} is no verification set of insightface: expected a pair (images, whether the same)")
    photos, truths = (listed(half, str(path)) for half in found)
    if not all(isinstance(one, (bool, int, float, np.generic)) and one in (0, 1) for one in truths):
        raise InputError(f"{path} is no verification set of insightface: expected true or false for each pair")
    same = np.array([bool(one) for one in truths])
    if len(photos) % 2 or len(photos) != 2 * len(same):
        raise InputError(f"{path} has {len(photos)} images for {len(same)} pairs: expected {2 * len(same)}, two each")
    if same.all() or not same.any():
        raise InputError(f"{path} has {len(same)} pairs, all of one kind: same and different people are needed")
    shape = (len(photos), 3, *size)
    check_memory(int(np.prod(shape, dtype=object)), f"{path}, with {len(photos):,} images of {size[1]}x{size[0]},")
    images = np.empty(shape, np.uint8)
    bad: dict[str, str] = {}
    for place, one in enumerate(photos):
        try:
            images[place] = decoded(one, size, f"{path}: image {place}")
        except Unusable as error:
            bad[f"image {place}"] = error.reason
    refuse_unusable(bad, len(photos), f"fetch {path} again")
    return images, same


def listed(half: object, where: str) -> list[object]:
    """The members of a list, a tuple or an array."""
    half = content_of(half)
    if isinstance(half, (list, tuple)) or (isinstance(half, np.ndarray) and half.ndim):
        return [content_of(one) for one in half]
    raise InputError(f"{where} is no verification set of insightface: expected a list of images and one of truths")


def decoded(photo: object, size: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """One image (3, h, w) from the bytes of a picture file, or from an array of them or of pixels (h, w, 3)."""
    from PIL import Image

    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim not in (1, 3) or not photo.size:
            raise InputError(f"{where} is an array {photo.dtype} {photo.shape}: expected bytes or pixels (h, w, 3)")
        if photo.ndim == 1:
            photo = photo.tobytes()
    if isinstance(photo, bytes):
        colour = decode(photo, where, upright=True)
    elif isinstance(photo, np.ndarray):
        with refusing(f"{where} cannot be decoded"):
            colour = Image.fromarray(photo).convert("RGB")
    else:
        raise InputError(f"{where} is a {type(photo).__name__}: expected the bytes of a picture")
    if colour.size != size[::-1]:
        colour = colour.resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(colour).transpose(2, 0, 1)
