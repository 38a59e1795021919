"""Whether an input contract is the one that a network was trained on: verification under it and its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from efface.data.faces import Array, Images
from efface.data.pairs import places, read_bin, read_pairs
from efface.data.vectors import units
from efface.datasets import READERS, read_photos
from efface.erasure.contract import ALIGNED, ContractedNetwork, InputContract, as_face, decoded
from efface.errors import InputError
from efface.evaluation.predict import outputs
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Measure, simultaneous_intervals
from efface.measures.verification import folds_correct, of_set, shares

if TYPE_CHECKING:
    import pandas as pd

MOST_PAIRS, MOST_PHOTOS = 3000, 20
"""Pairs of each kind that are made of a folder of people, and photos of one person that are paired."""
TRIED = 2000
"""Pairs by which neighbours of a contract are compared with it."""
FOLDS, DRAWS = 10, 1000
SIDE = 16
"""Cells on each side by which the pixels of photos are compared."""
ABOVE_PIXELS = 0.02
"""So much more than the pixels alone some contract must tell right, at the lower end of the interval: networks that
nobody trained tell 60 to 65% of LFW's aligned pairs right, the pixels 62%."""

Track = Callable[[Iterable[str], int, str], Iterable[str]]


@dataclass(frozen=True)
class PhotoPairs:
    """p pairs of photos, which are read as a contract wants them."""

    read: Callable[[InputContract, NDArray[np.int64]], tuple[NDArray[np.uint8], NDArray[np.int64]]]
    """A contract and numbers of photos to images (n, c, h, w) and the numbers (n,) of those that could be read."""
    first: Array
    """(p,) numbers of photos"""
    second: Array
    same: Array
    """(p,) bool"""
    fold: Array
    """(p,) int"""
    left_out: int = 0
    """Pairs of a protocol that name a photo that is not here."""

    def __len__(self) -> int:
        return len(self.same)

    def some(self, rows: Array) -> PhotoPairs:
        """Some of the pairs."""
        columns = {name: getattr(self, name)[rows] for name in ("first", "second", "same", "fold")}
        return replace(self, **columns)


@dataclass(frozen=True)
class Neighbour:
    """A contract that differs in one thing, and how much better it tells the pairs."""

    name: str
    contract: InputContract
    accuracy: Measure
    better_by: Measure
    """Its accuracy less the contract's, paired; the intervals of all neighbours hold together."""


@dataclass(frozen=True)
class Checked:
    """What pairs of photos say of a contract."""

    pairs: int
    unread: int
    """Pairs with a photo that could not be read or shows no face."""
    measures: Mapping[MeasureKey, Measure]
    """Of verification under the contract."""
    tried: int
    """Pairs on which neighbours were compared."""
    accuracy: Measure
    """Of the contract, on the pairs that were tried."""
    by_pixels: Measure
    """Accuracy of the photos' pixels, without a network."""
    above_pixels: float
    """The lower end of the interval of how much more the best contract tells right than the pixels."""
    neighbours: tuple[Neighbour, ...]
    untried: Mapping[str, str]
    """Why a neighbour was not tried, by its name."""


def pairs_of_protocol(file: Path, folder: Path, detector: Path | None, skip_unreadable: bool) -> PhotoPairs:
    """The pairs of LFW's `pairs.txt` whose photos lie in a folder, as `person/photo.jpg` or by a manifest."""
    pairs, table = read_pairs(file), read_photos(READERS["folder"], folder)
    rows = places(pairs, table["key"].tolist())
    here = np.all(rows >= 0, axis=0)
    refuse_one_kind(
        pairs.same[here], f"{int(here.sum())} of the {len(here)} pairs of {file} name two photos of {folder}"
    )
    reading = reader_of(table, detector, skip_unreadable)
    return PhotoPairs(reading, rows[0, here], rows[1, here], pairs.same[here], pairs.fold[here], int((~here).sum()))


def pairs_of_set(file: Path) -> PhotoPairs:
    """The pairs of an insightface set, which brings its photos, aligned."""
    images, same = read_bin(file, ALIGNED)

    def read(contract: InputContract, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        pictures = (Image.fromarray(np.ascontiguousarray(images[row].transpose(1, 2, 0))) for row in rows)
        return np.stack([as_face(one, file.name, contract) for one in pictures]), rows

    rows = np.arange(len(images))
    return PhotoPairs(read, rows[::2], rows[1::2], same, np.arange(len(same)) * FOLDS // len(same))


def pairs_of_people(folder: Path, detector: Path | None, skip_unreadable: bool) -> PhotoPairs:
    """Pairs of the photos of a folder, of one person and as many of two, drawn at random where there are many."""
    table = read_photos(READERS["folder"], folder)
    rng = np.random.default_rng(0)
    people = [rng.permutation(rows)[:MOST_PHOTOS] for rows in table.groupby("person").indices.values()]
    same = np.array([pair for rows in people for pair in combinations(rows.tolist(), 2)], np.int64).reshape(-1, 2)
    same = same[rng.permutation(len(same))[:MOST_PAIRS]]
    names = table["person"].to_numpy()
    drawn = np.sort(rng.integers(0, len(table), (20 * len(same), 2)), axis=1)
    apart = np.unique(drawn[names[drawn[:, 0]] != names[drawn[:, 1]]], axis=0)
    apart = apart[rng.permutation(len(apart))[: len(same)]]
    kinds = np.repeat([True, False], [len(same), len(apart)])
    refuse_one_kind(kinds, f"{folder} has {len(table):,} photos of {len(people):,} people")
    first, second = np.concatenate([same, apart]).T
    fold = np.concatenate([np.arange(len(one)) * FOLDS // len(one) for one in (same, apart)])
    return PhotoPairs(reader_of(table, detector, skip_unreadable), first, second, kinds, fold)


def refuse_one_kind(same: Array, found: str) -> None:
    """Raise InputError unless there are pairs of one person and of two; `found` opens its message."""
    if not same.any() or same.all():
        raise InputError(f"{found}: pairs of photos of one person and of two are needed")


def reader_of(
    table: pd.DataFrame, detector: Path | None, skip_unreadable: bool
) -> Callable[[InputContract, NDArray[np.int64]], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """What reads the photos of a table as a contract wants them."""
    paths, keys = (table[name].astype(str).to_numpy() for name in ("path", "key"))

    def read(contract: InputContract, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        images, kept = decoded(paths[rows].tolist(), keys[rows].tolist(), contract, detector, skip_unreadable)
        return images, rows[kept]

    return read


def check(
    network: nn.Module, contract: InputContract, pairs: PhotoPairs, device: torch.device, track: Track | None = None
) -> Checked:
    """Verification under a contract, by all pairs, and under its neighbours, by `TRIED` of them.

    The network is in evaluation mode afterwards. Raises InputError for one whose answers are no embeddings, and where
    photos cannot be read.
    """
    photos = np.unique([pairs.first, pairs.second])
    images, kept = pairs.read(contract, photos)
    alike = similarities(embedded(network, contract, images, device), kept, pairs)
    known = np.isfinite(alike)
    refuse_one_kind(pairs.same[known], f"{int(known.sum())} of {len(known)} pairs have two photos that can be used")
    read, alike = pairs.some(known), alike[known]
    nothing = np.full(len(read), np.nan)
    measures = of_set("pairs", alike, read.same, read.fold, nothing, np.zeros(len(read), bool), 0)

    chosen = some_of_each_kind(read.same)
    tried, found = read.some(chosen), {"": alike[chosen]}
    rows = np.unique([tried.first, tried.second])
    shown = {as_shown(contract): (images[np.isin(kept, rows)], rows)}
    pixels = similarities(units(coarse(images[np.isin(kept, rows)])), rows, tried)
    contracts, untried = dict(contract.neighbours()), {}
    for name in track(contracts, len(contracts), "neighbours of the contract") if track else contracts:
        other = contracts[name]
        if as_shown(other) not in shown:
            try:
                shown[as_shown(other)] = pairs.read(other, rows)
            except InputError as error:
                untried[name] = str(error)
                continue
            if np.array_equal(shown[as_shown(other)][0], shown[as_shown(contract)][0]):
                untried[name] = "these photos look the same by it"
                continue
        photos, numbers = shown[as_shown(other)]
        found[name] = similarities(embedded(network, other, photos, device), numbers, tried)
    everywhere = np.all([np.isfinite(one) for one in found.values()], axis=0)
    tried = tried.some(everywhere)
    refuse_one_kind(tried.same, f"{len(tried)} pairs have two photos that can be used by every contract")
    right = {name: folds_correct(one[everywhere], tried.same, tried.fold) for name, one in found.items()}
    by_pixels = folds_correct(pixels[everywhere], tried.same, tried.fold)
    about = f"share of {len(tried):,} pairs told right"
    better = differences({name: one for name, one in right.items() if name}, right[""])
    return Checked(
        len(read),
        len(pairs) - len(read),
        measures,
        len(tried),
        shares(right[""], "high", about, 0),
        shares(by_pixels, "high", about, 0),
        max(one.low or 0.0 for one in differences(right, by_pixels).values()),
        tuple(Neighbour(name, contracts[name], shares(right[name], "high", about, 0), better[name]) for name in better),
        untried,
    )


def as_shown(contract: InputContract) -> tuple[str, bool]:
    """What of a contract decides how its photos look before they become numbers."""
    return contract.template, contract.channels == "grey"


def some_of_each_kind(same: Array) -> NDArray[np.int64]:
    """Rows of at most `TRIED` pairs, of one person and of two in the proportion of all, in order."""
    rng = np.random.default_rng(0)
    share = min(1.0, TRIED / len(same))
    kinds = [rng.permutation(np.flatnonzero(same == one)) for one in (True, False)]
    return np.sort(np.concatenate([rows[: max(1, round(share * len(rows)))] for rows in kinds]))


def embedded(network: nn.Module, contract: InputContract, images: Array, device: torch.device) -> NDArray[np.float32]:
    """(n, d) embeddings of images as a contract wants them, of unit length."""
    model = ContractedNetwork(network, contract).to(device)
    answers = outputs(model, Images(images, np.arange(len(images))), device)
    if answers.ndim != 2:
        raise InputError(
            f"the network answers with {answers.shape[1:]} for an image: expected an embedding, which pairs are "
            "compared by; leave the pairs out"
        )
    return units(np.nan_to_num(answers))


def coarse(images: Array) -> NDArray[np.float32]:
    """(n, d) what pixels alone say of images (n, c, h, w): means over a raster of cells, less each photo's own."""
    cells = [functional.adaptive_avg_pool2d(torch.from_numpy(np.array(one)).float(), SIDE).numpy() for one in images]
    seen: NDArray[np.float32] = np.reshape(cells, (len(images), -1))
    seen -= seen.mean(1, keepdims=True)
    return seen


def similarities(unit: Array, numbers: Array, pairs: PhotoPairs) -> NDArray[np.float64]:
    """(p,) cosine of the embeddings (n, d) of each pair, NaN for a photo that is not among the embedded `numbers`."""
    row_of = dict(zip(numbers.tolist(), range(len(numbers)), strict=True))
    first, second = (np.array([row_of.get(one, -1) for one in side.tolist()]) for side in (pairs.first, pairs.second))
    alike = np.einsum("pd,pd->p", unit[first], unit[second]).astype(np.float64)
    return np.where((first >= 0) & (second >= 0), alike, np.nan)


def differences(right: Mapping[str, NDArray[np.bool_]], own: NDArray[np.bool_]) -> dict[str, Measure]:
    """How much larger each share of pairs told right is than one's own, with intervals that hold together."""
    rng = np.random.default_rng(0)
    apart = np.array([one.astype(float) - own for one in right.values()]).reshape(len(right), len(own))
    draws = [np.arange(len(own)), *(rng.integers(0, len(own), len(own)) for _ in range(DRAWS))]
    vectors = np.array([apart[:, rows].mean(1) for rows in draws]).T
    about = f"share of {len(own):,} pairs told right, less that of the contract"
    return simultaneous_intervals(dict(zip(right, vectors, strict=True)), "none", dict.fromkeys(right, about))


def refuse_mistaken(checked: Checked, contract: InputContract, what: str) -> None:
    """Raise InputError where no contract tells pairs better than their pixels do, or a neighbour tells them clearly
    better; `what` opens its message."""
    if checked.above_pixels < ABOVE_PIXELS:
        best = max((checked.accuracy, *(one.accuracy for one in checked.neighbours)), key=lambda one: one.value or 0)
        raise InputError(
            f"{what}: no contract that was tried tells the pairs clearly better than their pixels do (at best "
            f"{worded(best)} of {checked.tried:,} right, pixels {worded(checked.by_pixels)}): the architecture, the "
            "crop or the photos are not those of its training, it is no recogniser, or the pairs are too few"
        )
    better = [one for one in checked.neighbours if (one.better_by.low or 0) > 0]
    if better:
        first = max(better, key=lambda one: one.better_by.value or 0)
        raise InputError(
            f"{what}: '{first.name}' fits better: {worded(first.accuracy)} of {checked.tried:,} pairs told right, by "
            f"the contract given {worded(checked.accuracy)}; give {flags(first.contract, contract)}"
        )


def worded(share: Measure) -> str:
    """A share with its interval."""
    return f"{share.value:.1%}" + ("" if share.low is None else f" [{share.low:.1%}, {share.high:.1%}]")


def flags(contract: InputContract, other: InputContract) -> str:
    """What to give on the command line for a contract in the place of another."""
    words = {name: ",".join(f"{one:g}" for one in getattr(contract, name)) for name in ("mean", "std")}
    words |= {"template": contract.template, "channels": contract.channels}
    changed = [name for name in words if getattr(contract, name) != getattr(other, name)]
    return " ".join(f"--{name} {words[name]}" for name in changed)
