"""`efface fit-head`: a head on somebody's own network from which people can be taken out again, exactly.

`head.safetensors` answers; `sums.npz` is what it was solved from, and what people are subtracted from. Both are
readable by their owner only.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from efface import __version__
from efface.data.faces import EYES, Array
from efface.data.names import among
from efface.data.photos import left_out_line, load, refuse_unusable, some
from efface.data.vectors import Rows, units
from efface.erasure.embedding import Embedder, load_embedder
from efface.errors import InputError, nearest, one_line, refusing
from efface.files import exclusive, load_columns, make_folder, replacing, save_columns
from efface.methods.exact_head import (
    ClassSums,
    RidgeSums,
    class_sums,
    classes_without,
    condition,
    only_targets,
    ridge,
    ridge_sums,
    ridge_without,
)
from efface.preparation.detect import detecting
from efface.preparation.packed import MANIFEST
from efface.progress import Progress
from efface.quality import WAY_OUT, Photos, opened
from efface.tasks import TASKS
from efface.tasks.attributes import in_order

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["points", "one class", "labels", "numbers", "people"]
"""What a head answers: where the eyes are, one class of several, several yes or no, numbers, or who it is."""
KINDS: Mapping[str, Kind] = {
    "eyes": "points",
    "classes": "one class",
    "attributes": "labels",
    "regression": "numbers",
    "recognition": "people",
}
"""By the task that is asked for."""

HEAD, SUMS = "head.safetensors", "sums.npz"
EXACT = "identical to retraining the head without the people who were taken out"
LIMITS = (
    "the network below the head is as it was: if these people were among its training photos, nothing was forgotten "
    "there"
)
BUSY = "another `efface fit-head` is at work in {out}: wait for it"
PENALTY = 1.0
DIGITS = 1e8
"""From this condition number on two solutions of the same sums may differ in the eighth digit."""


@dataclass(frozen=True)
class Sums:
    """Columns of `sums.npz`: n photos, d features, t outputs. Of a head of class means the last four are its sums and
    counts."""

    about: Array
    """() JSON: the kind of the head, the sha256 of the network's weights, the shape of its faces."""
    names: Array
    """(t,) what each output is: an attribute, a class, a person."""
    people: Array
    """(n,) whom each photo shows."""
    pictures: NDArray[np.uint8]
    """(n, 16) a digest of each photo's pixels, so that only what was summed is subtracted."""
    targets: Array
    """(n, t) what each photo's answer should be; of classes and people their number, (n, 1)."""
    features: NDArray[np.float32]
    """(n, d), or (0, d) where they are not kept."""
    gram: Array
    cross: Array
    factor: Array
    penalty: Array


@dataclass(frozen=True)
class Fitted:
    """A head that was written to a folder."""

    out: Path
    kind: str
    photos: int
    people: int
    condition: float
    """Of the equations that were solved; 1 for class means, which are divisions."""
    left_out: str = ""
    taken_out: Sequence[str] = ()
    photos_out: int = 0
    milliseconds: float = 0.0
    """To subtract and to solve, without reading and writing files."""

    def __str__(self) -> str:
        """One line for whoever had it made."""
        parts = [f"{self.out / HEAD}: {self.kind} from {self.photos:,} photos of {self.people:,} people"]
        if self.taken_out:
            parts = [
                f"{some(self.taken_out)} taken out ({self.photos_out:,} photos, {self.milliseconds:.1f} ms): "
                f"{self.out / HEAD} is {EXACT}, for {self.photos:,} photos of {self.people:,} people",
                f"every copy of {SUMS} and {HEAD} from before still holds them",
                LIMITS,
            ]
        if self.condition > 1:
            parts.append(f"condition number {self.condition:.1e}")
        if self.condition > DIGITS:
            parts.append("so large that a refit may differ in the eighth digit: a larger --penalty lowers it")
        return one_line("; ".join([*parts, *([self.left_out] if self.left_out else [])]))


def fit_head(
    photos: Path,
    out: Path,
    *,
    model: Path,
    task: str,
    labels: Sequence[str] = (),
    penalty: float = PENALTY,
    arch: str | None = None,
    size: tuple[int, int] | None = None,
    contract: Path | None = None,
    detector: Path | None = None,
    keep_features: bool = False,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a head on the features of a network that stays as it is, into `out`.

    photos: a folder with a manifest, one folder per person, or a packed folder; task: one of `Kind`; labels: columns
    of the manifest to answer; penalty: ridge regression's, above 0; keep_features: also write each photo's features, so
    that people can be taken out without their photos; contract: what `efface inspect --out` wrote of the network, and
    detector: YuNet's ONNX file, which aligns photos where the contract wants them aligned. Raises InputError for data
    that cannot be used.
    """
    kind = _kind(task, labels)
    if not (math.isfinite(penalty) and penalty > 0):
        raise InputError(f"--penalty {penalty:g}: expected a number above 0")
    if (out / SUMS).exists():
        raise InputError(f"{out} holds a head already: give another --out, or take people out of it with --forget")
    embedder = load_embedder(model, arch, size, contract)
    if kind == "points" and not (photos / MANIFEST).is_file():
        raise InputError(f"{photos} is no packed folder: eyes move as photos are cropped; run `efface prepare` first")
    source = opened(photos, embedder.shape)
    if source.table is None:
        raise InputError(f"{photos} names no people: give a folder with a manifest, or one folder per person")
    _check_people(source)
    _targets(source.table, kind, labels)  # what is wrong with any label, before the network's long work
    bad: dict[str, str] = {}
    with contracted(source, embedder, detector) as shown:
        rows, pictures, features = _embedded(shown, embedder, bad, progress or Progress())
    if not (skip_unreadable and len(rows)):
        refuse_unusable(bad, len(source.keys), WAY_OUT)
    targets, names = _targets(source.table.iloc[rows], kind, labels)
    about = {
        "kind": kind,
        "model": embedder.sha256,
        "shape": list(embedder.shape),
        "contract": embedder.contract and embedder.contract.plain(),
        "efface": __version__,
    }
    if kind == "people":
        features = units(features)
    summed: RidgeSums | ClassSums
    if kind == "people":
        summed = class_sums(features, targets[:, 0], len(names))
    else:
        summed = ridge_sums(features, _one_hot(targets, kind, len(names)), penalty)
    left_out = "; ".join(
        part
        for part in (
            f"{len(bad):,} photos unreadable and left out: {some(bad)}" if bad else "",
            left_out_line(source.left_out),
        )
        if part
    )
    made = Sums(
        about=np.array(json.dumps(about, sort_keys=True)),
        names=np.array(names, str),
        people=np.array([source.people[row] for row in rows], str),
        pictures=pictures,
        targets=targets,
        features=features if keep_features else features[:0],
        **_columns(summed),
    )
    with exclusive(make_folder(out) / ".lock", BUSY.format(out=out)):
        return replace(_write(made, summed, out), left_out=left_out)


def take_out(
    out: Path,
    people: Sequence[str],
    *,
    photos: Path | None = None,
    model: Path | None = None,
    arch: str | None = None,
    size: tuple[int, int] | None = None,
    contract: Path | None = None,
    detector: Path | None = None,
) -> Fitted:
    """Take people out of the head in `out`: afterwards it, and its sums, are those of a fit without them.

    photos, model and the rest: as the head was fitted with, where features were not kept. Raises InputError, and
    nothing is changed, for people who are not in it, and where a photo that was summed is not at hand.
    """
    if not (out / SUMS).is_file():
        raise InputError(f"{out / SUMS} does not exist: fit a head into {out} first")
    with exclusive(out / ".lock", BUSY.format(out=out)):
        made, kind = _read(out)
        find = among(set(made.people.tolist()))
        named = {name: find(name) for name in people}
        if unknown := [name for name, known in named.items() if known is None]:
            close = get_close_matches(unknown[0][:100], sorted(set(made.people.tolist())), n=1)
            hint = f"did you mean '{close[0]}'?" if close else "give names as in the manifest"
            raise InputError(f"nobody called '{unknown[0]}' is in {out / SUMS}; {hint}")
        gone = np.isin(made.people, [str(known) for known in named.values()])
        if len(made.features):
            features = made.features[gone]
        elif photos is None or model is None:
            raise InputError(
                f"{out / SUMS} keeps no features: give the photos and the --model again, so that those of who is taken "
                "out can be computed"
            )
        else:
            embedder = load_embedder(model, arch, size, contract)
            _check_network(made, embedder, model, out)
            features = _of_photos(made, gone, photos, embedder, detector)
        start = time.perf_counter()
        summed, kept = _less(made, kind, features, gone)
        if isinstance(summed, RidgeSums):
            ridge(summed)
        took = 1e3 * (time.perf_counter() - start)
        targets = made.targets[~gone]
        if kind in ("one class", "people"):  # numbers of the classes that are left
            targets = (np.cumsum(kept) - 1)[targets]
        left = replace(
            made,
            names=made.names[kept],
            people=made.people[~gone],
            pictures=made.pictures[~gone],
            targets=targets,
            features=made.features[~gone] if len(made.features) else made.features,
            **_columns(summed),
        )
        done = _write(left, summed, out)
    return replace(done, taken_out=list(named), photos_out=int(gone.sum()), milliseconds=took)


def _kind(task: str, labels: Sequence[str]) -> Kind:
    if task not in KINDS:
        raise InputError(f"task '{task}' is unknown{nearest(task, tuple(KINDS))}")
    kind = KINDS[task]
    wanted = {"one class": "one", "labels": "one or more", "numbers": "one or more"}.get(kind, "no")
    if (wanted == "no") != (not labels) or (wanted == "one" and len(labels) > 1):
        raise InputError(f"task '{task}' takes {wanted} --label, the column to answer: {len(labels)} given")
    return kind


def _check_people(source: Photos) -> None:
    if nobody := [key for key, person in zip(source.keys, source.people, strict=True) if not person]:
        raise InputError(f"photo '{nobody[0]}' has no person: give each unknown person a name of their own")


def _targets(table: pd.DataFrame, kind: Kind, labels: Sequence[str]) -> tuple[Array, list[str]]:
    """What each photo's answer should be, (n, t) or the number of its class (n, 1), and what each output is called."""
    if kind == "people":
        people, numbers = np.unique(table["person"].astype(str), return_inverse=True)
        return numbers.astype(np.int64)[:, None], people.tolist()
    columns = EYES if kind == "points" else list(labels)
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"the photos have no column '{missing[0]}'{nearest(missing[0], map(str, table.columns))}")
    if kind == "one class":
        words = TASKS["classes"].targets(table, columns)
        names = in_order(sorted(set(words.tolist())))
        if len(names) < 2:
            raise InputError(f"every photo has the {columns[0]} '{names[0]}': there is nothing to tell apart")
        number = {name: place for place, name in enumerate(names)}
        return np.array([[number[word]] for word in words.tolist()], np.int64), names
    if kind == "labels":
        return TASKS["attributes"].targets(table, columns).astype(np.float64), columns
    return np.column_stack([_numbers(table, name) for name in columns]), columns


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """(n,) of a column; InputError names the first photo whose value is none."""
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce").to_numpy(np.float64)
    if len(wrong := np.flatnonzero(~np.isfinite(values))):
        key, word = table["key"].iloc[wrong[0]], table[column].iloc[wrong[0]]
        raise InputError(f"photo '{key}': {column} is '{word}', not a number")
    return values


def _embedded(
    source: Photos, embedder: Embedder, bad: dict[str, str], progress: Progress
) -> tuple[Array, NDArray[np.uint8], NDArray[np.float32]]:
    """Rows, digests of pixels and features of all photos that can be read; of the others the reason in `bad`."""
    kept, pictures, features = (Rows(len(source.keys)) for _ in range(3))
    for rows, images in progress.track(source.batches(bad), math.ceil(len(source.keys) / 128), "photos"):
        kept.add(np.asarray(rows, np.int64))
        pictures.add(np.stack([_digest(image) for image in images]))
        features.add(embedder.features(images))
    if not kept.count:
        return np.zeros(0, np.int64), np.zeros((0, 16), np.uint8), np.zeros((0, 0), np.float32)
    return kept.given, pictures.given, features.given


@contextmanager
def contracted(source: Photos, embedder: Embedder, detector: Path | None) -> Iterator[Photos]:
    """The photos as the network's contract wants them; as they are where there is none.

    Raises InputError for a detector without a contract, and faces that are cut out already.
    """
    if embedder.contract is None:
        if detector is not None:
            raise InputError("--detector aligns photos by a contract, and there is none: give --contract")
        yield source
        return
    if source.table is None or "path" not in source.table:
        raise InputError(
            "a contract says how faces are cut out, and those in a packed folder are: leave out --contract"
        )
    paths: dict[str, str] = dict(zip(source.table["key"], source.table["path"], strict=True))
    looking = nullcontext() if detector is None else detecting(detector)
    with looking as found:
        finder = replace(embedder, detector=found)
        yield replace(source, read=lambda row: finder.face(load(Path(paths[source.keys[row]]), upright=True)))


def _check_network(made: Sums, embedder: Embedder, model: Path, out: Path) -> None:
    """Raise InputError for another network than the head was fitted on, or another contract."""
    about = json.loads(str(made.about))
    if embedder.sha256 != about["model"]:
        raise InputError(f"{model} is not the file that the head in {out} was fitted on (its sha256 differs)")
    if (embedder.contract and embedder.contract.plain()) != about.get("contract"):
        wanted = "with another --contract" if about.get("contract") else "without --contract"
        raise InputError(f"the head in {out} was fitted {wanted}: give the same")


def _digest(image: Array) -> NDArray[np.uint8]:
    """(16,) of a face's pixels as the network is shown them."""
    return np.frombuffer(blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), np.uint8)


def _of_photos(
    made: Sums, gone: NDArray[np.bool_], photos: Path, embedder: Embedder, detector: Path | None
) -> NDArray[np.float32]:
    """(k, d) features of the photos that are to be subtracted, computed again from the photos themselves."""
    source, wanted = opened(photos, embedder.shape), set(made.people[gone].tolist())
    mine = [row for row, person in enumerate(source.people) if person in wanted]
    bad: dict[str, str] = {}
    theirs = replace(
        source,
        keys=[source.keys[row] for row in mine],
        people=[source.people[row] for row in mine],
        read=lambda place: source.read(mine[place]),
    )
    with contracted(theirs, embedder, detector) as shown:
        _, pictures, features = _embedded(shown, embedder, bad, Progress())
    place = {picture.tobytes(): row for row, picture in enumerate(pictures)}
    asked = [picture.tobytes() for picture in made.pictures[gone]]
    if missing := [one for one in asked if one not in place]:
        unreadable = f"; {len(bad)} cannot be read: {some(bad)}" if bad else ""
        raise InputError(
            f"{len(missing):,} of the {len(asked):,} photos of {some(sorted(wanted))} in the head are not among "
            f"those in {photos}, pixel by pixel: give those it was fitted with{unreadable}"
        )
    chosen = features[[place[one] for one in asked]]
    return units(chosen) if json.loads(str(made.about))["kind"] == "people" else chosen


def _less(
    made: Sums, kind: str, features: NDArray[np.float32], gone: NDArray[np.bool_]
) -> tuple[RidgeSums | ClassSums, NDArray[np.bool_]]:
    """The sums without these photos, and which outputs (t,) are left."""
    targets = made.targets[gone]
    if kind == "people":
        return classes_without(ClassSums(made.gram, made.cross), features, targets[:, 0])
    before = RidgeSums(made.gram, made.cross, made.factor, made.penalty)
    left, _ = ridge_without(before, features, _one_hot(targets, kind, len(made.names)))
    kept = np.ones(len(made.names), bool)
    if kind == "one class":  # one that nobody is left of would not be known to a refit
        kept = np.bincount(made.targets[~gone, 0], minlength=len(kept)) > 0
    return only_targets(left, kept), kept


def _one_hot(targets: Array, kind: str, outputs: int) -> Array:
    return np.eye(outputs)[targets[:, 0]] if kind == "one class" else targets


def _columns(summed: RidgeSums | ClassSums) -> dict[str, Array]:
    """The sums as columns of `Sums`."""
    if isinstance(summed, RidgeSums):
        return {field.name: getattr(summed, field.name) for field in fields(summed)}
    nothing = np.zeros(0)
    return {"gram": summed.sums, "cross": summed.counts, "factor": nothing, "penalty": nothing}


def _write(made: Sums, summed: RidgeSums | ClassSums, out: Path) -> Fitted:
    """Write the head first and its sums last: what was killed between them is done again from the old sums."""
    about = json.loads(str(made.about))
    number = condition(summed) if isinstance(summed, RidgeSums) else 1.0
    if isinstance(summed, RidgeSums):
        weights, bias = ridge(summed)
        answers = {"weight": torch.from_numpy(weights), "bias": torch.from_numpy(bias)}
    else:
        answers = {"prototypes": torch.from_numpy(summed.means)}
    record = about | {"outputs": made.names.tolist(), "condition": number, "exact": EXACT, "limits": LIMITS}
    with replacing(out / HEAD, private=True) as part:
        save_file(answers, part, {"efface": json.dumps(record, sort_keys=True)})
    save_columns(made, out / SUMS, private=True)
    people = len(np.unique(made.people))
    return Fitted(out, about["kind"], len(made.people), people, number)


def _read(out: Path) -> tuple[Sums, str]:
    """What `_write` left, held against itself."""
    path = out / SUMS
    with refusing(f"{path} is not what `efface fit-head` wrote: fit the head again"):
        made = load_columns(Sums, path)
        about: dict[str, Any] = json.loads(str(made.about))
        kind = str(about["kind"])
        ridge_head, one_number = kind != "people", kind in ("one class", "people")
        count, outputs, size = len(made.people), len(made.names), made.gram.shape[1]
        shapes = {
            "pictures": (count, 16),
            "targets": (count, 1 if one_number else outputs),
            "gram": (size, size) if ridge_head else (outputs, size),
            "cross": (size, outputs) if ridge_head else (outputs,),
            "factor": (size, size) if ridge_head else (0,),
            "penalty": () if ridge_head else (0,),
            "features": (len(made.features), size - ridge_head),
        }
        whole = kind in get_args(Kind) and all(getattr(made, name).shape == shape for name, shape in shapes.items())
        for column in (made.gram, made.cross, made.factor, made.penalty, made.targets, made.features):
            whole = whole and column.dtype.kind in "if" and bool(np.isfinite(column).all())
        if one_number:
            whole = whole and made.targets.dtype.kind == "i" and bool((made.targets.ravel() < outputs).all())
            whole = whole and bool((made.targets >= 0).all())
        if not whole or len(made.features) not in (0, count) or not isinstance(about["model"], str):
            raise ValueError("its columns do not fit together")
    return made, kind
