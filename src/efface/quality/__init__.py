"""Face image quality without labels and without weights trained for it, by photo: `efface quality`.

Low-quality faces are what CURE's quality case forgets (arXiv:2509.19562); whether a score means anything is shown by
how errors fall as its worst photos are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from efface.data.batches import as_input
from efface.data.faces import Array
from efface.data.pairs import Pairs, places, read_bin, read_pairs
from efface.data.photos import Unusable, left_out_line, load, refuse_unusable, some
from efface.datasets import READERS, read_photos
from efface.errors import InputError, nearest, one_line
from efface.files import exclusive, make_folder, replacing, write_csv
from efface.measures.verification import error_versus_discard
from efface.models.load import outputs_of, read_record, recorded_network
from efface.models.recogniser import Recogniser
from efface.preparation.packed import MANIFEST, open_packed
from efface.quality.curves import draw_discard
from efface.quality.network import NETWORK
from efface.quality.pixels import PIXELS
from efface.quality.sheet import contact_sheet

if TYPE_CHECKING:
    import pandas as pd

BATCH, BATCH_BYTES = 128, 2**24
"""Faces scored at once, and the most bytes of pixels they have: measures take some hundred times as much."""
WITHOUT_NETWORK = (3, 112, 112)
"""Shape (c, h, w) to which photos are brought where no network says another."""
WAY_OUT = "nothing was written: replace them, or leave them out with --skip-unreadable"


@dataclass(frozen=True)
class Scored:
    """What `quality` left on disk."""

    table: Path
    sheet: Path
    curves: Path | None
    """How errors fall as the worst photos are left out, where pairs were given."""
    faces: int
    by: str
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Reason by key of each photo that was left out, as `skip_unreadable` asked."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Reason by name of each file of the folder that was passed over."""

    def __str__(self) -> str:
        """One line for whoever had it made."""
        parts = [
            f"{self.faces:,} photos by {self.by}: {self.table} and {self.sheet} (which shows faces)",
            str(self.curves) if self.curves else "",
            f"{len(self.unreadable):,} photos unreadable and left out: {some(self.unreadable)}"
            if self.unreadable
            else "",
            left_out_line(self.left_out),
        ]
        return one_line("; ".join(part for part in parts if part))


def quality(
    folder: Path,
    out: Path,
    *,
    weights: Path | None = None,
    by: str | None = None,
    pairs: Path | None = None,
    arch: str | None = None,
    skip_unreadable: bool = False,
) -> Scored:
    """Score every photo of a folder, of a packed one, or of a verification set (`.bin`; a photo's key is its place
    in the set), into `out/quality.csv` (a row per photo, worst first) and `out/quality.png` (from worst to best).

    With the weights of a run's recogniser its measures are added; arch: "module:function" that makes its backbone,
    where that is not of this package. `by`: what to sort and `score` by (default: with a network `stability`, which
    foretold its errors on LFW where measures of pixels did not; else `pixels`, the mean rank over these). With LFW's
    protocol of `pairs` among the photos, or the own pairs of a set, `out/discard.csv` and `out/discard.png` show for
    each measure how the network's errors fall as the pairs with the worst photos are left out: a measure whose curve
    does not fall means nothing to this network. Photos that cannot be decoded are an InputError that names all of
    them; skip_unreadable: they are left out and listed.
    """
    import pandas as pd

    network, shape = loaded(weights, arch) if weights is not None else (None, None)
    names = ["pixels", *PIXELS, *(NETWORK if network is not None else ())]
    by = by or ("stability" if network is not None else "pixels")
    if by not in names:
        raise InputError(f"measure '{by}' is unknown{nearest(by, names)}")
    if pairs is not None and network is None:
        raise InputError("pairs are told apart by a network: give its weights too")
    if not (folder / MANIFEST).is_file() and folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"{out} lies among the photos: give another --out, so that nothing stands between them")
    photos = opened(folder, shape)
    if pairs is not None and photos.pairs is not None:
        raise InputError(f"{folder} is a verification set with pairs of its own: leave out pairs")
    protocol = read_pairs(pairs) if pairs is not None else None
    if protocol is not None:
        among(protocol, photos.keys)
    bad: dict[str, str] = {}
    seen = [(rows, measured(batch, network), embedded(batch, network)) for rows, batch in photos.batches(bad)]
    if not (skip_unreadable and seen):
        refuse_unusable(bad, len(photos.keys), WAY_OUT)
    kept = np.concatenate([rows for rows, _, _ in seen])
    keys, people = ([column[row] for row in kept] for column in (photos.keys, photos.people))
    found = pd.concat([measures for _, measures, _ in seen], ignore_index=True)
    found.insert(0, "pixels", found[list(PIXELS)].rank(pct=True).mean(axis=1))
    if found[by].isna().all():
        raise InputError(f"measure '{by}' says nothing of these photos, which are grey: choose another")
    table = pd.concat([pd.DataFrame({"key": keys, "person": people}), found], axis=1)
    table.insert(2, "score", table[by])
    order = np.argsort(table["score"].to_numpy(), kind="stable")
    compared = among(protocol, keys) if protocol is not None else photos.pairs if network is not None else None
    busy = f"another `efface quality` is at work in {out}: wait for it, or give another --out"
    with exclusive(make_folder(out) / ".lock", busy):
        write_csv(out / "quality.csv", table.iloc[order])
        shown = contact_sheet(table["score"].to_numpy()[order], lambda row: photos.read(int(kept[order[row]])), by)
        with replacing(out / "quality.png") as part:
            shown.save(part, "PNG")
        curves = None
        if compared is not None:
            unit = np.concatenate([embeddings for _, _, embeddings in seen])
            first, second, same = compared
            alike = np.einsum("pd,pd->p", unit[first], unit[second])
            falling = {
                name: error_versus_discard(alike, same, worse(table[name].to_numpy(), first, second))
                for name in names
                if table[name].notna().all()
            }
            curves = draw_discard(falling, out)
    return Scored(out / "quality.csv", out / "quality.png", curves, len(table), by, bad, photos.left_out)


def worse(scores: Array, first: Array, second: Array) -> Array:
    """(p,) the lower score of each pair."""
    lower: Array = np.minimum(scores[first], scores[second])
    return lower


def among(pairs: Pairs, keys: list[str]) -> tuple[Array, Array, Array]:
    """Rows of both photos of each pair that is here, and whether they show one person."""
    rows = places(pairs, keys)
    here: Array = np.all(rows >= 0, axis=0)
    if not here.any() or pairs.same[here].all() or not pairs.same[here].any():
        raise InputError(
            f"{int(here.sum())} of the {len(here)} pairs name two photos that are in the folder: pairs of "
            "one person and of two are needed"
        )
    return rows[0, here], rows[1, here], pairs.same[here]


@torch.no_grad()
def embedded(images: Array, network: nn.Module | None) -> Array:
    """(n, d) unit embeddings, each photo's and its mirror image's summed; (n, 0) without a network."""
    if network is None:
        return np.zeros((len(images), 0), np.float32)
    batch = as_input(images, torch.device("cpu"))
    return nn.functional.normalize(network(batch) + network(batch.flip(3))).numpy()


def measured(images: Array, network: nn.Module | None) -> pd.DataFrame:
    """All measures of some photos (n, c, h, w), a row each."""
    import pandas as pd

    columns: dict[str, Array] = {name: measure(images) for name, measure in PIXELS.items()}
    if network is not None:
        batch = as_input(images, torch.device("cpu"))
        with torch.no_grad():
            columns |= {name: measure(network, batch).numpy() for name, measure in NETWORK.items()}
    return pd.DataFrame(columns)


def loaded(weights: Path, arch: str | None = None) -> tuple[nn.Module, tuple[int, int, int]]:
    """The backbone of a run's recogniser in evaluation mode, and the shape of its pictures; arch: as `--arch`."""
    record = read_record(weights)
    if outputs_of(record) != "embeddings":
        raise InputError(
            f"{weights} is not of a recogniser that efface trained: give weights from the models/ folder "
            'of a run with task = "recognition"'
        )
    model = recorded_network(weights, arch).requires_grad_(False)
    if not isinstance(model, Recogniser):
        raise InputError(
            f"{weights} is of a {type(model).__name__}, which recognises nobody: give a recogniser's weights"
        )
    channels, height, width = record["shape"]
    return model.backbone, (channels, height, width)


@dataclass(frozen=True)
class Photos:
    """What is to be scored, read when it is asked for."""

    keys: list[str]
    people: list[str]
    shape: tuple[int, int, int]
    read: Callable[[int], Array]
    """A row to its image (c, h, w) uint8. Raises `Unusable`."""
    table: pd.DataFrame | None = None
    """A row of labels for each, where the photos come with any."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    pairs: tuple[Array, Array, Array] | None = None
    """Rows of both photos of each pair, and whether they show one person, where the photos come as pairs."""

    def batches(self, bad: dict[str, str]) -> Iterator[tuple[Array, Array]]:
        """Rows and images (n, c, h, w) of all of them, in order, but for those that cannot be read: they go into `bad`,
        the reason by key."""
        size = max(1, min(BATCH, BATCH_BYTES // math.prod(self.shape)))
        for start in range(0, len(self.keys), size):
            images: dict[int, Array] = {}
            for row in range(start, min(start + size, len(self.keys))):
                try:
                    images[row] = self.read(row)
                except Unusable as error:
                    bad[self.keys[row]] = error.reason
            if images:
                yield np.array(list(images)), np.stack(list(images.values()))


def opened(folder: Path, shape: tuple[int, int, int] | None) -> Photos:
    """The photos of a packed folder, or those of a tree of photos or a verification set brought to `shape` (c, h, w),
    that of a network's faces.

    Raises InputError for packed faces of another, and for a set where the network takes grey photos; without a network
    packed faces are taken as they are.
    """
    if folder.suffix == ".bin" and folder.is_file():
        wanted = shape or WITHOUT_NETWORK
        if wanted[0] != 3:
            raise InputError(f"photos of {folder} are in colour, the network takes {wanted[0]} channel: give another")
        images, same = read_bin(folder, wanted[1:])
        rows = np.arange(len(images))
        return Photos(
            rows.astype(str).tolist(),
            [""] * len(images),
            wanted,
            lambda row: images[row],
            pairs=(rows[::2], rows[1::2], same),
        )
    if not (folder / MANIFEST).is_file():
        table = read_photos(READERS["folder"], folder)
        paths, wanted = table["path"].tolist(), shape or WITHOUT_NETWORK
        return Photos(
            table["key"].tolist(),
            table["person"].tolist(),
            wanted,
            lambda row: decoded(paths[row], wanted),
            table,
            table.attrs["left_out"],
        )
    face_table = open_packed(folder)
    found = face_table.images.shape[1:]
    if shape is not None and found != shape:
        raise InputError(
            f"{folder} holds faces of {found} but the network was trained on {shape} (channels, height, width): "
            "prepare them alike"
        )
    people = face_table.table["person"].astype(str).tolist()
    keys = face_table.table["key"].tolist()
    return Photos(keys, people, found, lambda row: np.array(face_table.images[row]), face_table.table)


def decoded(path: str, shape: tuple[int, int, int]) -> Array:
    """A whole photo as (c, h, w) uint8."""
    from PIL import Image

    channels, height, width = shape
    photo = load(Path(path), upright=True).convert("L" if channels == 1 else "RGB")
    return np.atleast_3d(np.asarray(photo.resize((width, height), Image.Resampling.BOX))).transpose(2, 0, 1)
