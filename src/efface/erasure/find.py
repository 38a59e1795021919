"""`efface find`: every photo of a person among many, by embeddings, for a human to accept or not.

Nothing is decided here: each photo gets scores and a suggestion, and what counts is what somebody writes into the
column `accept`. Embeddings are dropped as soon as they are scored; photos are read, shown to the network and scored
block by block, so that memory holds one block, and for each photo its name and a few numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from efface.data.faces import Array
from efface.data.photos import (
    SUFFIXES,
    Unusable,
    digests,
    files_below,
    is_hidden,
    left_out_line,
    load,
    refuse_unusable,
    some,
)
from efface.data.vectors import units
from efface.erasure.embedding import Embedder, load_embedder
from efface.errors import InputError, one_line
from efface.files import exclusive, make_folder, plain_cells, read_csv, replacing, write_csv
from efface.preparation.detect import Detector, detecting
from efface.preparation.photos import difference_hash
from efface.progress import Progress
from efface.tasks.attributes import NO, YES

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

TABLE, SHEET, UNFINISHED = "candidates.csv", "candidates.png", "unfinished.jsonl"
BLOCK = 64
"""Photos in memory at a time."""
FAISS_FROM = 100_000
"""Photos from which on the nearest example is searched by faiss, where that is installed."""
BITS, COPY = 4, 0.9
"""A near duplicate of an example: bits of 64 in which their difference hashes may differ, and the least score."""
SAME = 0.02
"""How far the scores of photos with one difference hash may be apart that are copies of each other."""
WAY_OUT = "no table was written: replace them, or leave them out with --skip-unreadable"
FEW = 20
"""Scores of others below which they tell nothing of what a stranger's score can be."""
SPREADS = 2.0
"""How many standard deviations below the mean an example's score to the other examples may be expected."""
ACROSS, DOWN, SIDE, GAP, LINES, HEAD = 10, 24, 96, 6, 32, 30
"""The contact sheet: photos in a row, rows of candidates, pixels."""
ACCEPTS, REFUSES = {*YES, "y", "x", "ok"}, {*NO, "n", ""}


@dataclass(frozen=True)
class Scored:
    """What is kept of a photo."""

    path: str
    stamp: str
    """Size and time of change of its file."""
    reason: str = ""
    """Why it could not be used."""
    score: float = float("nan")
    """Cosine to the nearest example."""
    mean: float = float("nan")
    """Cosine to the mean of the examples."""
    nearest: int = -1
    """Which example that is."""
    looks: tuple[int, int] = (0, 0)
    """Difference hashes of the photo and of its mirror image."""


@dataclass(frozen=True)
class Thresholds:
    """From which score on a photo is suggested, and below which it is not; between them nobody can say."""

    yes: float
    no: float
    own: tuple[float, float] | None
    """Mean and standard deviation of the examples' own scores, each against the others; None for a lone example."""
    others: tuple[float, float] | None
    """The same of people who are somebody else; None where too few were scored."""

    def suggested(self, score: float) -> str:
        """yes, no or unsure."""
        return "yes" if score >= self.yes else "no" if score < self.no else "unsure"

    def __str__(self) -> str:
        """Where they come from."""
        own = f"examples among each other {self.own[0]:.2f} ± {self.own[1]:.2f}" if self.own else "a lone example"
        others = f"others {self.others[0]:.2f} ± {self.others[1]:.2f}" if self.others else "too few others to compare"
        yes = f"yes from a score of {self.yes:.2f}" if np.isfinite(self.yes) else "yes for copies of examples alone"
        no = f"no below {self.no:.2f}" if np.isfinite(self.no) else "no for none"
        return f"{yes}, {no} ({own}; {others})"


@dataclass(frozen=True)
class Found:
    """What `find` left on disk."""

    table: Path
    sheet: Path
    photos: int
    counts: Mapping[str, int]
    """Photos by suggestion."""
    thresholds: Thresholds
    odd: Sequence[str] = ()
    """Examples that score no higher among the others than strangers do, up to a standard deviation above their mean."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line for whoever had it made."""
        counts = ", ".join(f"{self.counts.get(name, 0):,} {name}" for name in ("yes", "unsure", "no"))
        parts = [
            f"{self.photos:,} photos, suggested {counts}: {self.table} and {self.sheet} (which shows faces)",
            str(self.thresholds),
            f"write yes into the column accept for each photo that shows the person, of all of {self.table.name}",
            f"no more like the other examples than others are, is it the same person: {some(self.odd)}"
            if self.odd
            else "",
            f"{len(self.unreadable):,} photos unreadable and left out: {some(self.unreadable)}"
            if self.unreadable
            else "",
            left_out_line(self.left_out),
        ]
        return one_line("; ".join(part for part in parts if part))


def find(
    examples: Path,
    photos: Path,
    out: Path,
    *,
    model: Path,
    arch: str | None = None,
    size: tuple[int, int] | None = None,
    contract: Path | None = None,
    detector: Path | None = None,
    others: Path | None = None,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Found:
    """Score every photo below `photos` by how much it looks like the examples, into `out/candidates.csv` (best first)
    and a contact sheet.

    examples: a photo or a folder of photos of one person; contract: what `efface inspect --out` wrote of the model, by
    which each photo becomes a face (detector: YuNet's ONNX file, for photos that are not aligned); without it all of a
    photo is shrunk. others: photos of people who are somebody else, to learn
    what their scores are (without them: from the lower half of the photos' own scores, which takes it that the person
    is on fewer than half of them). A run that was killed goes on. Raises InputError for photos that cannot be read
    (skip_unreadable: they are left out and listed), and where the table in `out` has been written into.
    """
    if photos.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"{out} lies among the photos: give another --out, so that nothing stands between them")
    embedder = load_embedder(model, arch, size, contract)
    if detector is not None and contract is None:
        raise InputError("a detector aligns faces to the template of a contract: give --contract too")
    if not embedder.recognises:
        raise InputError(f"{model} is no recogniser's: people are found by embeddings; give a recogniser's weights")
    chosen, _ = photos_in(examples, "examples")
    paths, left_out = photos_in(photos, "photos")
    strangers = [] if others is None else photos_in(others, "others")[0]
    looking: AbstractContextManager[Detector | None] = nullcontext() if detector is None else detecting(detector)
    with (
        exclusive(make_folder(out) / ".lock", f"another `efface find` is at work in {out}: wait for it"),
        looking as finder,
    ):
        embedder = replace(embedder, detector=finder)
        refuse_filled(out / TABLE)
        bad: dict[str, str] = {}
        vectors, looks, shown = _of_examples(chosen, embedder, bad, skip_unreadable)
        measure = partial(_scored, embedder=embedder, search=_search(vectors, len(paths)), mean=_mean(vectors))
        signature = _signature(embedder, [chosen[place] for place in shown])
        watch = progress or Progress()
        found = _all_scored(paths, measure, out / UNFINISHED, signature, watch)
        blocks = watch.track(_blocks(strangers), -(-len(strangers) // BLOCK), "scoring others")
        apart = [one for block in blocks for one in measure(block)]
        bad |= {one.path: one.reason for one in [*found, *apart] if one.reason}
        usable = [one for one in found if not one.reason]
        if bad and not (skip_unreadable and usable):
            refuse_unusable(bad, len(chosen) + len(paths) + len(strangers), WAY_OUT)
        own = against_each_other(vectors, looks)
        limits = thresholds(
            own,
            np.array([one.score for one in usable]),
            np.array([one.score for one in apart if not one.reason]) if others is not None else None,
        )
        names = [str(chosen[place]) for place in shown]
        table = _table(usable, names, looks, limits)
        write_csv(out / TABLE, table, private=True)
        with replacing(out / SHEET, private=True) as part:
            contact_sheet(table, names).save(part, "PNG")
        (out / UNFINISHED).unlink(missing_ok=True)
    counts = {str(name): int(count) for name, count in table["suggested"].value_counts().items()}
    usual = sum(limits.others) if limits.others is not None and len(own) > 2 else -np.inf
    odd = [names[place] for place, score in enumerate(own) if score < usual]
    return Found(out / TABLE, out / SHEET, len(table), counts, limits, odd, bad, left_out)


def read_accepted(path: Path) -> list[Path]:
    """The photos of a table of `find` that somebody accepted, in order.

    Raises InputError for a word in the column `accept` that is neither yes nor no, and where nothing is accepted.
    """
    table = plain_cells(read_csv(path, "table of candidates"))
    if missing := [name for name in ("path", "accept") if name not in table]:
        raise InputError(f"{path} has no column '{missing[0]}': give what `efface find` wrote, separated by commas")
    words = table["accept"].str.strip().str.lower()
    for row, word in enumerate(words):
        if word not in ACCEPTS | REFUSES:
            raise InputError(f"{path}: accept of '{table['path'].iloc[row]}' is '{word}': expected yes, no or nothing")
    accepted = [Path(name) for name in table["path"][words.isin(ACCEPTS)]]
    if not accepted:
        raise InputError(f"{path} accepts no photo: write yes into its column accept where a photo shows the person")
    return list(dict.fromkeys(accepted))


def thresholds(own: Array, scores: Array, others: Array | None = None) -> Thresholds:
    """Where yes begins and no ends.

    own (m,): each example's score against the other examples, NaN where there is no other. What the person's photos
    score is taken to reach down to `SPREADS` standard deviations below the mean of these (their own, or the others'
    where that is larger). What somebody else's score is taken to reach as far up as one of as many photos would by
    chance: from `others` (k,), or else from the lower half of `scores` (n,), mirrored. Above both is yes, below both is
    no. A lone example does not say how the person's photos vary, and too few others say nothing of strangers: then
    nothing is suggested but "unsure", or "no" where strangers are known.
    """
    own = own[np.isfinite(own)]
    apart: tuple[float, float] | None = None
    if others is not None and len(others) >= FEW:
        apart = float(others.mean()), float(others.std(ddof=1))
    elif others is None and len(scores) >= FEW:
        middle = float(np.median(scores))
        apart = middle, float(np.sqrt(np.square(scores[scores <= middle] - middle).mean()))
    mine = None if not len(own) else (float(own.mean()), float(own.std(ddof=1)) if len(own) > 1 else 0.0)
    if apart is None:
        return Thresholds(np.inf, -np.inf, mine, None)
    highest = apart[0] + float(stats.norm.isf(1 / max(len(scores), FEW))) * apart[1]
    if mine is None:
        return Thresholds(np.inf, highest, None, apart)
    lowest = mine[0] - SPREADS * max(mine[1], apart[1])
    return Thresholds(max(highest, lowest), min(highest, lowest), mine, apart)


def contact_sheet(table: pd.DataFrame, examples: Sequence[str]) -> Image.Image:
    """A row of examples, then the candidates, best first, each with its row in the table, its score and what is
    suggested."""
    from PIL import Image, ImageDraw, ImageFont

    first = table.iloc[: ACROSS * DOWN]
    rows = 1 + -(-len(first) // ACROSS)
    step = SIDE + GAP
    sheet = Image.new("RGB", (GAP + ACROSS * step, 2 * HEAD + rows * (step + LINES)), "white")
    draw, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(13)
    more = f", the first {ACROSS} shown" if len(examples) > ACROSS else ""
    draw.text((GAP, 7), f"{len(examples):,} examples{more}", "black", font)
    for place, path in enumerate(examples[:ACROSS]):
        sheet.paste(_thumbnail(path), (GAP + place * step, HEAD))
    top = HEAD + step + 4
    draw.text((GAP, top + 7), f"{len(table):,} photos, best first: row in {TABLE}, score, suggestion", "black", font)
    colours = {"yes": "#1b6e20", "unsure": "#8a5a00", "no": "#666666"}
    for place, row in enumerate(first.itertuples()):
        left, down = GAP + place % ACROSS * step, top + HEAD + place // ACROSS * (step + LINES)
        sheet.paste(_thumbnail(str(row.path)), (left, down))
        draw.text((left, down + SIDE + 1), f"{row.row}  {float(str(row.score)):.3f}", "black", small)
        copy = " copy" if row.near_duplicate_of else ""
        draw.text((left, down + SIDE + 15), f"{row.suggested}{copy}", colours[str(row.suggested)], small)
    return sheet


def _thumbnail(path: str) -> Image.Image:
    """A whole photo in a square; grey where it is gone meanwhile."""
    from PIL import Image, ImageOps

    with suppress(Unusable):
        return ImageOps.pad(load(Path(path), upright=True), (SIDE, SIDE), color="white")
    return Image.new("RGB", (SIDE, SIDE), "#dddddd")


def photos_in(place: Path, what: str) -> tuple[list[Path], dict[str, str]]:
    """The photos below a folder, or the one photo, sorted; and why other files are left out, by name."""
    if place.is_file():
        return [place.absolute()], {}
    if not place.is_dir():
        raise InputError(f"{what} {place} do not exist: give a photo or a folder of photos")
    files, left_out = files_below(place)
    taken = []
    for file in files:
        name = one_line(file.relative_to(place).as_posix())
        if is_hidden(file, place) or file.suffix.lower() not in SUFFIXES:
            left_out[name] = "hidden or no photo"
        elif not _is_utf8(str(file)):
            raise InputError(f"{place} holds a name that is not UTF-8, '{name}': rename it")
        else:
            taken.append(file.absolute())
    if not taken:
        raise InputError(f"{what} {place} holds no photos; {left_out_line(left_out) or 'it is empty'}")
    return taken, left_out


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def refuse_filled(table: Path) -> None:
    """Raise InputError where somebody has written into a table that would be replaced."""
    if table.exists():
        words = read_csv(table, "table of candidates")
        if "accept" not in words or words["accept"].str.strip().any():
            raise InputError(f"{table} has been written into: give another --out, or move it away")


def _read(path: Path, embedder: Embedder) -> tuple[Array, tuple[int, int]] | str:
    """A face (c, h, w) uint8 and its difference hashes, or why there is none."""
    from PIL import ImageOps

    try:
        photo = load(path, upright=True)
        face = embedder.face(photo)
    except Unusable as error:
        return error.reason
    return face, (difference_hash(photo), difference_hash(ImageOps.mirror(photo)))


def _of_examples(
    chosen: Sequence[Path], embedder: Embedder, bad: dict[str, str], skip: bool
) -> tuple[NDArray[np.float32], list[tuple[int, int]], list[int]]:
    """Embeddings (m, d), difference hashes and places of the examples that can be read."""
    vectors, looks, places = [], [], []
    for place, path in enumerate(chosen):
        read = _read(path, embedder)
        if isinstance(read, str):
            bad[str(path)] = read
            continue
        vectors.append(embedder.embeddings(read[0][None]))
        looks.append(read[1])
        places.append(place)
    if bad and not (skip and places):
        refuse_unusable(bad, len(chosen), "these are examples, nothing was searched; replace them or take them out")
    return np.concatenate(vectors), looks, places


def _mean(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(d,) the direction of the mean."""
    mean: NDArray[np.float32] = units(vectors.mean(0, keepdims=True))[0]
    return mean


Search = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""Embeddings (b, d) to the cosine to the nearest example, (b,), and which it is."""


def _search(vectors: NDArray[np.float32], photos: int) -> Search:
    """By faiss for many photos, where it is installed; else by a product of matrices. Both are exact."""
    if photos >= FAISS_FROM:
        with suppress(ImportError):
            return faiss_search(vectors)

    def nearest(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        cosines = block @ vectors.T
        place = cosines.argmax(1)
        return cosines[np.arange(len(block)), place], place.astype(np.int64)

    return nearest


def faiss_search(vectors: NDArray[np.float32]) -> Search:
    """The same by faiss's exact index of inner products. Raises ImportError where it is not installed."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))

    def nearest(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        cosines, places = index.search(np.ascontiguousarray(block), 1)
        return cosines[:, 0], places[:, 0]

    return nearest


def _blocks(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK))


def _scored(paths: Sequence[Path], *, embedder: Embedder, search: Search, mean: NDArray[np.float32]) -> list[Scored]:
    """A block of photos, read side by side."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        read = list(threads.map(lambda path: _read(path, embedder), paths))
    faces = [one[0] for one in read if not isinstance(one, str)]
    block = embedder.embeddings(np.stack(faces)) if faces else np.zeros((0, len(mean)), np.float32)
    cosines, places = search(block) if faces else (np.zeros(0), np.zeros(0, np.int64))
    answers = zip(cosines.tolist(), (block @ mean).tolist(), places.tolist(), strict=True)
    return [
        Scored(str(path), _stamp(path), reason=one)
        if isinstance(one, str)
        else Scored(str(path), _stamp(path), "", *next(answers), one[1])
        for path, one in zip(paths, read, strict=True)
    ]


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _signature(embedder: Embedder, examples: Sequence[Path]) -> str:
    """What scores depend on beside the photo."""
    parts = [
        embedder.sha256,
        str(embedder.shape),
        str(embedder.contract),
        str(embedder.detector is None),
        *digests([str(path) for path in examples]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _all_scored(
    paths: Sequence[Path],
    measure: Callable[[Sequence[Path]], list[Scored]],
    journal: Path,
    signature: str,
    progress: Progress,
) -> list[Scored]:
    """Every photo's scores, in order; each block is written down when it is done, so that a killed run goes on."""
    known = _resumed(journal, signature)
    old = {path: known.get(str(path)) for path in paths}
    here = {path: one for path, one in old.items() if one is not None and one.stamp == _stamp(path)}
    fresh = [path for path in paths if path not in here]
    if here:
        progress.say(f"{len(here):,} photos were scored before")
    with replacing(journal, private=True) as part, part.open("w", encoding="utf-8") as file:
        file.write("".join(json.dumps(one) + "\n" for one in [signature, *map(asdict, here.values())]))
    with journal.open("a", encoding="utf-8") as file:
        for block in progress.track(_blocks(fresh), -(-len(fresh) // BLOCK), "scoring photos"):
            done = measure(block)
            file.write("".join(json.dumps(asdict(one)) + "\n" for one in done))
            file.flush()
            here |= dict(zip(block, done, strict=True))
    return [here[path] for path in paths]


def _resumed(journal: Path, signature: str) -> dict[str, Scored]:
    """What an earlier run with the same model and examples wrote down of readable photos, by path; up to a line that
    is not whole."""
    if not journal.is_file():
        return {}
    known: dict[str, Scored] = {}
    with suppress(ValueError, TypeError, AttributeError, LookupError), journal.open(encoding="utf-8") as file:
        if json.loads(file.readline()) != signature:
            return {}
        for line in file:
            path, stamp, reason, score, mean, nearest, looks = json.loads(line).values()
            if not reason:
                known[str(path)] = Scored(
                    str(path), str(stamp), "", float(score), float(mean), int(nearest), (int(looks[0]), int(looks[1]))
                )
    return known


def against_each_other(vectors: NDArray[np.float32], looks: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """(m,) each example's cosine to the nearest other that is no copy of it; NaN where there is none."""
    cosines = (vectors @ vectors.T).astype(np.float64)
    for one, (look, _) in enumerate(looks):
        for other, hashes in enumerate(looks):
            if one == other or look in hashes:
                cosines[one, other] = -np.inf
    nearest = cosines.max(1)
    return np.where(np.isfinite(nearest), nearest, np.nan)


def _table(
    found: Sequence[Scored], examples: Sequence[str], looks: Sequence[tuple[int, int]], limits: Thresholds
) -> pd.DataFrame:
    """A row per photo, best first."""
    import pandas as pd

    ordered = sorted(found, key=lambda one: (-one.score, one.path))
    first: dict[int, Scored] = {}
    rows = []
    for number, one in enumerate(ordered, start=2):  # the line of names is the first row of the file
        of_example = [
            name
            for name, hashes in zip(examples, looks, strict=True)
            if one.score >= COPY and min((one.looks[0] ^ look).bit_count() for look in hashes) <= BITS
        ]
        of_photo = [first[look].path for look in one.looks if look in first and first[look].score - one.score < SAME]
        first.setdefault(one.looks[0], one)
        rows.append(
            {
                "row": number,
                "path": one.path,
                "score": round(one.score, 6),
                "score_to_mean": round(one.mean, 6),
                "nearest_example": examples[one.nearest],
                "near_duplicate_of": next(iter([*of_example, *of_photo]), ""),
                "suggested": "yes" if of_example else limits.suggested(one.score),
                "accept": "",
            }
        )
    return pd.DataFrame(rows)
