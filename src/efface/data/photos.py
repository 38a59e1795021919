"""The one reader of photos: which files lie below a folder, and each photo as an upright picture in RGB of 8 bits.

Whatever the file: the orientation of EXIF is applied, 16 bits and fractions become 8 bits, palettes and CMYK become
RGB, transparent parts show white, and of an animation the first picture is taken. A photo has at most `MAX_PIXELS`,
which its header says before anything is decoded.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import stat
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efface.data.recordio import read_record
from efface.errors import InputError, one_line

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "PPM", "BMP", "GIF", "AVIF", "JPEG2000")
"""Pillow's decoders that are used, and HEIF where pillow-heif is installed. Others are not: EPS, say, is a program."""

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Endings, in small letters, of files that are taken for photos."""

MAX_PIXELS, MAX_SIDE = 2**27, 65_535
"""134 megapixels, more than a telephone takes. While it is turned a photo holds eight bytes per pixel."""
MAX_BYTES, MAX_SCANS = 2**30, 100
"""Of a photo's file, and how often a progressive JPEG may go over its pixels: ten times is usual."""

TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""EXIF orientation to the `PIL.Image.Transpose` that undoes it; 1 is upright."""
BACK = {4: 2, 2: 4}
"""Turns whose inverse is another one."""
ORIENTATION, BITS, PHOTOMETRIC = 274, 258, 262
"""Tags of EXIF and TIFF."""

RECORD = re.compile(r"(.+\.rec)@(\d+)")
"""How a photo inside a record file is named: `train.rec@12345`, the byte its record begins at."""

HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

SHOWN, MANY = 5, 20
"""Names of files in a line about many, and of photos that must be replaced."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what Pillow logs of a broken file is in our refusal


class Unusable(InputError):
    """A photo that cannot be used; `reason` says why, without naming it."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} {reason}: replace it or take it out")
        self.reason = one_line(reason)


class Unreadable(Unusable):
    """A photo that cannot be decoded."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, f"cannot be decoded ({reason})")


def load(path: Path, *, upright: bool) -> Image.Image:
    """A photo in RGB, from its file or from a record of a file of many; `upright` turns it as its EXIF orientation
    says. Raises `Unreadable`."""
    inside = RECORD.fullmatch(str(path))
    if inside is not None:
        try:
            record = read_record(Path(inside[1]), int(inside[2]))
        except InputError as error:
            raise Unreadable(str(path), str(error)) from None
        return decode(record.payload, str(path), upright=upright)
    with open_photo(path) as file:
        return decode(file, str(path), upright=upright)


def decode(file: IO[bytes] | bytes, where: str, *, upright: bool) -> Image.Image:
    """A photo in RGB from an open file, or from the bytes of one. Raises `Unreadable`, which names it as `where`."""
    with _opened(file, where) as (photo, orientation):
        if photo.info.get("progressive"):
            _refuse_endless(photo)
        with SILENT if photo.format == "TIFF" else nullcontext():
            photo.load()
        turn = TURNS.get(orientation)
        if photo.format == "TIFF":  # which Pillow has turned already
            turn = None if upright or turn is None else BACK.get(turn, turn)
        elif not upright:
            turn = None
        return _in_rgb(photo if turn is None else _turned(photo, turn))


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a photo as stored, by its header. Raises `Unreadable`."""
    with open_photo(path) as file, _opened(file, str(path)) as (photo, _):
        return photo.size


@contextmanager
def open_photo(path: Path, most: int = MAX_BYTES) -> Iterator[io.BufferedReader]:
    """The bytes of a photo's file. Raises `Unreadable` for more bytes and for what is no file on a disk, and never
    waits for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Unreadable(str(path), str(reason)) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise Unreadable(str(path), f"it is a {_kind(found.st_mode)}, not a file")
    with os.fdopen(descriptor, "rb") as file:
        if found.st_size > most:
            raise Unreadable(str(path), f"it has {found.st_size:,} bytes, at most {most:,} are read")
        yield file


def digests(paths: Sequence[str]) -> list[str]:
    """sha256 of each photo's bytes, "" for one that cannot be opened; of a photo inside a record file that of the whole
    file, and its place."""
    inside = [RECORD.fullmatch(path) for path in paths]
    files = [found[1] if found else path for found, path in zip(inside, paths, strict=True)]
    whole = sorted({found[1] for found in inside if found})
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        single = sorted(set(files) - set(whole))
        of = dict(zip(single, threads.map(_digest, single), strict=True))
    of |= {file: _digest(file, sys.maxsize) for file in whole}
    return [f"{of[file]}{'@' + found[2] if found else ''}" for found, file in zip(inside, files, strict=True)]


def _digest(path: str, most: int = MAX_BYTES) -> str:
    try:
        with open_photo(Path(path), most) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (Unreadable, OSError):
        return ""


def files_below(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Every file below a folder, sorted; and why a folder below it was not looked into, by its path: it cannot be
    opened, or is a link to one that was."""
    files: list[Path] = []
    closed: dict[str, str] = {}
    seen: dict[tuple[int, int], Path] = {}
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        name = one_line(place.relative_to(folder).as_posix())
        try:
            found = place.stat()
            entries = sorted(place.iterdir())
        except OSError as error:
            closed[name] = f"cannot be opened ({error.strerror})"
            continue
        first = seen.setdefault((found.st_dev, found.st_ino), place)
        if first is not place:
            closed[name] = f"the same folder as {one_line(first.relative_to(folder).as_posix())}"
            continue
        folders = {entry: os.path.isdir(entry) for entry in entries}
        files += [entry for entry in entries if not folders[entry]]
        waiting += [entry for entry in reversed(entries) if folders[entry]]
    return sorted(files), closed


def is_hidden(file: Path, folder: Path) -> bool:
    """Whether a file, or a folder between it and `folder`, has a name that begins with a dot."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def left_out_line(left_out: Mapping[str, str]) -> str:
    """How many files were left out, of which kinds, and the first names; "" for none."""
    if not left_out:
        return ""
    kinds = Counter(Path(name).suffix.lower() or "without a suffix" for name in left_out)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(8))
    more = f", {len(kinds) - 8} kinds more" if len(kinds) > 8 else ""
    return f"{len(left_out):,} file{'s' * (len(left_out) > 1)} left out ({counts}{more}): {some(left_out)}"


def some(names: Iterable[str], shown: int = SHOWN) -> str:
    """The first of many names, and how many follow."""
    listed = list(names)
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown:,} more" if len(listed) > shown else "")


def refuse_unusable(bad: Mapping[str, str], count: int, way_out: str) -> None:
    """Raise `InputError` that names every photo of `count` that cannot be used (the first 20 of many), if any."""
    if bad:
        named = some((f"{name} {reason}" for name, reason in bad.items()), MANY)
        raise InputError(f"{len(bad):,} of {count:,} photos cannot be used; {way_out}: {named}")


@contextmanager
def _opened(file: IO[bytes] | bytes, where: str) -> Iterator[tuple[Image.Image, int]]:
    """A photo whose header is read, and its orientation; whatever is raised of it is `Unreadable`."""
    from PIL import Image, UnidentifiedImageError

    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    start = stream.read(12)
    formats: tuple[str, ...] = FORMATS
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS and _heif_is_known():
        formats += ("HEIF",)
    try:
        with QUIET, Image.open(stream, formats=formats) as photo:
            width, height = photo.size
            if not (min(width, height) > 0 and max(width, height) <= MAX_SIDE and width * height <= MAX_PIXELS):
                raise Unreadable(
                    where,
                    f"it is {width}x{height}: at most {MAX_PIXELS:,} pixels and {MAX_SIDE:,} a side are read",
                )
            yield photo, _orientation(photo)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        reason = f"it is no whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]}" if start else "it is empty"
        if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
            reason = "HEIC needs pillow-heif: pip install 'efface[heic]'" if "HEIF" not in formats else "broken HEIC"
        raise Unreadable(where, reason) from None
    except Image.DecompressionBombError:
        raise Unreadable(where, f"it has too many pixels: at most {MAX_PIXELS:,} are read") from None
    except Exception as error:  # a broken file makes a decoder raise anything at all
        raise Unreadable(where, " ".join(str(error).split())[:200] or type(error).__name__) from None


def _refuse_endless(photo: Image.Image) -> None:
    """Raise ValueError for a JPEG whose small file makes the decoder go over all pixels again and again."""
    file: IO[bytes] = vars(photo)["fp"]
    place = file.tell()
    file.seek(0)
    scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if scans > MAX_SCANS:
        raise ValueError(f"it is a JPEG of {scans:,} scans: at most {MAX_SCANS} are read")


def _heif_is_known() -> bool:
    """Whether pillow-heif is installed; Pillow then knows HEIF."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _orientation(photo: Image.Image) -> int:
    """1 to 8; a photo whose EXIF is damaged is taken as it is stored."""
    try:
        return int(photo.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _turned(photo: Image.Image, turn: int) -> Image.Image:
    from PIL import Image

    return photo.transpose(Image.Transpose(turn))


def _in_rgb(photo: Image.Image) -> Image.Image:
    """A decoded photo in RGB of 8 bits, what is transparent in it on white."""
    from PIL import Image

    if photo.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(photo)).convert("RGB")
    if photo.has_transparency_data:
        drawn = photo.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    return photo.convert("RGB")


def _eight_bits(photo: Image.Image) -> NDArray[np.uint8]:
    """(h, w) of a grey photo of more than 8 bits, or of fractions.

    16 bits (12 in some TIFF) are all of them. Of 32 bits and of fractions no format says what is white: they are taken
    to be shares of 1, of 255 or of 65535 by their largest value, and refused where that is none of these.
    """
    tags: Mapping[int, Any] = getattr(photo, "tag_v2", {})
    values = np.asarray(photo)
    low, high = float(values.min()), float(values.max())
    if photo.mode.startswith("I;16"):
        white = float(2 ** tags.get(BITS, (16,))[0] - 1)
    elif photo.mode == "I" and photo.format != "TIFF":
        white = 65_535.0
    else:
        fits = (one for one in (1.0, 255.0, 65_535.0) if high <= 1.01 * one and (high > one / 16 or one == 1))
        white = next(fits, 0.0)
        if not white or not low >= -0.01 * white:
            raise ValueError(f"it has grey values from {low:g} to {high:g}: expected 0 to 1, to 255 or to 65535")
    share = np.clip(values.astype(np.float32) / np.float32(white), 0, 1)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero
        share = 1 - share
    eight: NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    return eight


def _kind(mode: int) -> str:
    """What stands where a file was expected."""
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


@contextmanager
def _no_stderr() -> Iterator[None]:
    """The process's error output into nothing: libtiff writes there past Python."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


class _Shared:
    """A context of the whole process: entered by the first of several threads, left by the last."""

    def __init__(self, context: Callable[[], AbstractContextManager[None]]) -> None:
        self.context, self.lock, self.inside, self.stack = context, threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.stack.enter_context(self.context())
            self.inside += 1

    def __exit__(self, *_error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.stack.close()


QUIET, SILENT = _Shared(_no_warnings), _Shared(_no_stderr)
"""What concerns the user of a broken photo is in its refusal."""
