"""The one reader of photos: known answers for every kind of file, and one line for whatever is none."""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import refusal
from efface.data import photos
from efface.data.photos import SUFFIXES, Unreadable, decode, digests, files_below, left_out_line, load, size_of

RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {}, "TIFF": {}, "PPM": {}, "BMP": {}, "WEBP": {"lossless": True}, "JPEG2000": {"irreversible": False},
}  # fmt: skip
LOSSY = ("JPEG", "AVIF", "HEIF", "MPO")
FORMATS = (*LOSSLESS, *LOSSY, "GIF")


def encoded(picture: Image.Image | NDArray[Any], kind: str, **settings: Any) -> bytes:
    """A photo's file."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **settings)
    return buffer.getvalue()


def read(data: bytes, *, upright: bool = True) -> NDArray[np.uint8]:
    """(h, w, 3) of a photo's file."""
    return np.asarray(decode(data, "photo", upright=upright))


def reason(data: bytes) -> str:
    """Why a file is refused."""
    return refusal(decode, data, "photo", upright=True)


def tiff(
    values: NDArray[Any], *, bits: int, photometric: int = 1, sample_format: int = 1, packed: bytes = b""
) -> bytes:
    """A grey TIFF in one strip, as scanners and microscopes write them."""
    data, (height, width) = packed or values.tobytes(), values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 10 * 12 + 4)]
    tags += [(277, 1), (278, height), (279, len(data)), (339, sample_format)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + data


# Right values


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_photo_comes_out_as_it_went_in(kind: str) -> None:
    assert np.array_equal(read(encoded(RGB, kind, **LOSSLESS[kind])), RGB)
    grey = read(encoded(GREY, kind, **LOSSLESS[kind]))
    assert np.array_equal(grey, np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_photo_has_the_colour_it_had(kind: str) -> None:
    flat = np.broadcast_to(np.array([200, 60, 30], np.uint8), (24, 32, 3))
    assert np.abs(read(encoded(flat, kind)).astype(int) - flat).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """Numbers say where row 0 and column 0 of what is stored belong: 6, say, is right and top."""
    marked = np.full((40, 60), 20, np.uint8)
    marked[:20, :30] = 240  # stored: top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.repeat(marked[:, :, None], 3, axis=2), kind, exif=exif.tobytes())
    upright = read(data)
    height, width = (40, 60) if orientation < 5 else (60, 40)
    assert upright.shape == (height, width, 3)
    row, column = {
        1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0),
    }[orientation]  # fmt: skip
    for down in (0, 1):
        for across in (0, 1):
            value = upright[height // 4 + down * height // 2, width // 4 + across * width // 2, 0]
            assert (value > 200) == ((down, across) == (row, column))
    if kind != "HEIF":  # there the turn is part of the picture
        assert np.abs(read(data, upright=False)[:, :, 0].astype(int) - marked).max() <= 60
        assert read(data, upright=False).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_become_eight(kind: str) -> None:
    deep = np.arange(0, 65536, 85, dtype=np.uint16)[:768].reshape(24, 32)
    expected = np.rint(deep / 257)
    settings = {"irreversible": False} if kind == "JPEG2000" else {}
    found = read(encoded(deep, kind, **settings))
    assert found.shape == (24, 32, 3)
    assert np.abs(found[:, :, 0] - expected).max() <= 1
    white = np.full((24, 32), 65535, np.uint16)
    assert (read(encoded(white, kind, **settings)) == 255).all()
    assert (read(encoded(0 * white, kind, **settings)) == 0).all()


def test_sixteen_bits_in_colour_and_in_other_orders_of_bytes() -> None:
    deep = (RGB.astype(np.uint16) * 257).astype(">u2")
    ppm = b"P6 32 24 65535\n" + deep.tobytes()
    assert np.abs(read(ppm).astype(int) - RGB).max() <= 1
    grey = GREY.astype(">u2") * 257
    big = tiff(grey, bits=16)
    motorola = b"MM" + b"".join(
        word[::-1] for word in (big[2:4], big[4:8], big[8:10])
    ) + b"".join(
        big[at : at + 2][::-1] + big[at + 2 : at + 4][::-1] + big[at + 4 : at + 8][::-1]
        + (big[at + 8 : at + 10][::-1] + bytes(2) if big[at + 2] == 3 else big[at + 8 : at + 12][::-1])
        for at in range(10, 130, 12)
    ) + bytes(4) + grey.tobytes()  # fmt: skip
    assert np.array_equal(read(motorola)[:, :, 0], GREY)


def test_a_tiff_of_twelve_bits_and_one_whose_white_is_zero() -> None:
    twelve = np.array([[0, 4095], [2048, 1024]], np.uint16)
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x04, 0x00])
    assert read(tiff(twelve, bits=12, packed=packed))[:, :, 0].tolist() == [[0, 255], [128, 64]]
    deep = GREY.astype("<u2") * 257
    assert np.array_equal(read(tiff(deep, bits=16, photometric=0))[:, :, 0], 255 - GREY)
    share = (GREY / 255).astype("<f4")
    assert np.array_equal(read(tiff(share, bits=32, photometric=0, sample_format=3))[:, :, 0], 255 - GREY)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_fractions_are_shares_of_what_their_largest_says(white: int) -> None:
    share = GREY.astype(np.float32) / 255
    for kind in ("TIFF", "PPM"):
        assert np.array_equal(read(encoded(share * white, kind))[:, :, 0], GREY)
    overshoot = np.where(GREY > 250, 1.005, share).astype(np.float32) * white
    assert read(encoded(overshoot, "TIFF")).max() == 255
    if white > 1:
        whole = (share * white).round().astype(np.int32)
        assert np.abs(read(encoded(whole, "TIFF"))[:, :, 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("values", [[0, 3.5], [0, 4095], [-1, 1], [0, np.nan], [0, np.inf], [-9e9, 9e9], [0, 1e30]])
def test_fractions_of_nobody_knows_what_are_refused(values: list[float]) -> None:
    said = reason(encoded(np.array([values], np.float32), "TIFF"))
    assert "grey values from" in said


def test_palettes_cmyk_and_bits() -> None:
    palette = Image.fromarray(RGB).quantize(32)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert np.array_equal(read(encoded(palette, kind)), np.asarray(palette.convert("RGB")))
    bits = GREY > 127
    for kind in ("PNG", "TIFF", "PPM", "BMP"):
        assert np.array_equal(read(encoded(Image.fromarray(bits), kind))[:, :, 2], np.where(bits, 255, 0))
    inks = np.zeros((24, 32, 4), np.uint8)
    inks[:, :8, 0] = inks[:, 8:16, 1] = inks[:, 16:24, 3] = 255  # cyan, magenta, black, paper
    for kind in ("JPEG", "TIFF"):
        found = read(encoded(cmyk(inks), kind))
        for place, colour in enumerate([(0, 255, 255), (255, 0, 255), (0, 0, 0), (255, 255, 255)]):
            assert np.abs(found[12, 4 + 8 * place].astype(int) - colour).max() <= 4


def cmyk(inks: NDArray[np.uint8]) -> Image.Image:
    """A picture of four inks (h, w, 4)."""
    return Image.merge("CMYK", [Image.fromarray(np.ascontiguousarray(inks[:, :, ink])) for ink in range(4)])


def test_what_is_transparent_is_white() -> None:
    clear = np.dstack([RGB, np.zeros_like(GREY)])
    clear[:, 16:, 3] = 255
    for kind, settings in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        found = read(encoded(clear, kind, **settings))
        assert (found[:, :16] == 255).all()
        assert np.array_equal(found[:, 16:], RGB[:, 16:])
    half = np.full((4, 4, 4), 128, np.uint8)
    half[:, :, :3] = 0
    assert np.abs(read(encoded(half, "PNG")).astype(int) - 127).max() <= 1
    grey = np.dstack([GREY, np.where(GREY > 99, 255, 0).astype(np.uint8)])
    assert np.array_equal(read(encoded(Image.fromarray(grey), "PNG"))[:, :, 0], np.where(GREY > 99, GREY, 255))
    palette = Image.fromarray(RGB).quantize(16)
    expected = np.where(np.asarray(palette)[:, :, None] == 3, 255, np.asarray(palette.convert("RGB")))
    for kind in ("PNG", "GIF"):
        assert np.array_equal(read(encoded(palette, kind, transparency=3)), expected)
    hidden = tuple(int(value) for value in RGB[5, 6])
    assert read(encoded(RGB, "PNG", transparency=hidden))[5, 6].tolist() == [255] * 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_an_animation_the_first_picture_is_taken(kind: str) -> None:
    first, second = (Image.new("RGB", (32, 24), colour) for colour in ("#c83c1e", "#1e3cc8"))
    found = read(encoded(first, kind, save_all=True, append_images=[second, second]))
    assert np.abs(found.astype(int) - [200, 60, 30]).max() <= 8


def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(RGB, "PNG"))
    assert np.array_equal(np.asarray(load(tmp_path / "a.jpg", upright=True)), RGB)
    assert size_of(tmp_path / "a.jpg") == (32, 24)
    assert {".heic", ".avif", ".gif", ".jfif", ".tif"} <= set(SUFFIXES)


# What is refused


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_photo_is_refused(kind: str) -> None:
    data = encoded(RGB, kind, **LOSSLESS.get(kind, {}))
    for share in (0.02, 0.2, 0.5, 0.9):
        said = reason(data[: max(1, int(share * len(data)))])
        assert said.startswith("photo cannot be decoded (")
        assert "Io" not in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"nothing like a photo, but long enough", "it is no whole JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + b"showpage\n" * 9, "it is no whole"),
        (b"P5 0 7 255\n", "cannot be decoded"),
        (b"P5 65536 1 255\n" + bytes(65536), "it is 65536x1: at most"),
        (b"P5 20000 20000 255\n", "too many pixels"),
        (b"P5 12000 12000 255\n", "it is 12000x12000: at most 134,217,728 pixels"),
    ],
)
def test_no_photo_is_one_line(data: bytes, said: str) -> None:
    assert said in reason(data)


def bomb(kind: str, side: int) -> bytes:
    """A file of a few bytes that says it is side x side."""
    small = bytearray(encoded(np.zeros((8, 8, 3), np.uint8) if kind != "GIF" else np.zeros((8, 8), np.uint8), kind))
    if kind == "PNG":
        small[16:24] = struct.pack(">II", side, side)
        small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    elif kind == "GIF":
        small[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        small[18:26] = struct.pack("<ii", side, side)
    elif kind == "JPEG":
        at = small.index(b"\xff\xc0")
        small[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(small)


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    data = encoded(RGB, "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert read(data).shape == (24, 32, 3)
    assert "it is a JPEG of" in reason(data[:-2] + data[scan:-2] * 200 + data[-2:])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "JPEG"])
def test_a_decompression_bomb_is_refused_by_its_header(kind: str) -> None:
    start = time.perf_counter()
    for side in (12_000, 60_000):
        assert "pixels" in reason(bomb(kind, side))
    assert time.perf_counter() - start < 1


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "it is a pipe, not a file" in refusal(load, tmp_path / "pipe.jpg", upright=True)
    assert "it is a device, not a file" in refusal(load, Path("/dev/zero"), upright=True)
    assert "it is a folder, not a file" in refusal(load, tmp_path, upright=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg"))
        assert "cannot be decoded" in refusal(load, tmp_path / "s.jpg", upright=True)
    assert "No such file" in refusal(load, tmp_path / "gone.jpg", upright=True)
    assert "cannot be decoded" in refusal(load, tmp_path / "a\nb\0.jpg", upright=True)
    with (tmp_path / "hole.png").open("wb") as file:
        file.truncate(2**40)
    assert "at most 1,073,741,824 are read" in refusal(load, tmp_path / "hole.png", upright=True)
    assert digests([str(tmp_path / name) for name in ("pipe.jpg", "gone.jpg", "hole.png")]) == [""] * 3


def test_heic_without_its_extra_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(RGB, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "HEIC needs pillow-heif: pip install 'efface[heic]'" in reason(data)


def test_a_damaged_exif_is_no_reason_to_refuse() -> None:
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 9, b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
        assert read(encoded(RGB, "JPEG", exif=exif)).shape == (24, 32, 3)


def test_nothing_but_the_refusal_is_said(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    """Neither by Pillow's warnings, nor by libtiff past Python."""
    broken = bytearray(encoded(Image.fromarray(GREY > 127), "TIFF", compression="group4"))
    broken[12:60] = bytes(48)
    read(bytes(broken))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        read(encoded(RGB, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff\0\0\0\0"))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_many_threads_leave_warnings_and_output_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    before, data = list(warnings.filters), [encoded(RGB, kind) for kind in ("TIFF", "PNG", "JPEG")]
    with ThreadPoolExecutor(8) as threads:
        shapes = set(threads.map(lambda number: read(data[number % 3]).shape, range(300)))
    assert shapes == {(24, 32, 3)}
    assert warnings.filters == before
    os.write(2, b"said")
    assert capfd.readouterr().err == "said"
    assert threading.active_count() < 20


# Folders


def test_every_file_below_a_folder_is_found_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "a/deep/er/3.png", ".hidden/4.png", "5"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"")
    (tmp_path / "tree" / "a" / "loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree" / "c").symlink_to(tmp_path / "tree" / "b")
    (tmp_path / "tree" / "gone.png").symlink_to(tmp_path / "nowhere")
    files, closed = files_below(tmp_path / "tree")
    found = [file.relative_to(tmp_path / "tree").as_posix() for file in files]
    assert found == [".hidden/4.png", "5", "a/1.png", "a/deep/er/3.png", "b/2.png", "gone.png"]
    assert closed == {"a/loop": "the same folder as .", "c": "the same folder as b"}


def test_a_line_says_how_many_of_which_kind_were_left_out() -> None:
    assert left_out_line({}) == ""
    names = ["a/1.MOV", "a/2.mov", "b", "c.txt", "d.mov", "e.mov", "f.mov"]
    assert left_out_line(dict.fromkeys(names, "")) == (
        "7 files left out (5 .mov, 1 without a suffix, 1 .txt): a/1.MOV, a/2.mov, b, c.txt, d.mov and 2 more"
    )


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c.rec", b"two")):
        (tmp_path / name).write_bytes(content)
    one, same, first, second = digests([str(tmp_path / name) for name in ("a", "b", "c.rec@0", "c.rec@1")])
    assert one == same
    assert first[:64] == second[:64] != one
    assert first != second


@pytest.mark.parametrize("wrong", [Unreadable("x", "why"), ValueError("broken\nin two")])
def test_whatever_a_decoder_raises_is_one_line(monkeypatch: pytest.MonkeyPatch, wrong: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise wrong

    monkeypatch.setattr(photos, "_orientation", fail)
    assert "\n" not in reason(encoded(RGB, "PNG"))


def test_an_interruption_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(photos, "_in_rgb", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(encoded(RGB, "PNG"))
