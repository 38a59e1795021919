"""Pickles of verification sets: every way an honest program writes them is read, and nothing in one is ever run."""

from __future__ import annotations

import os
import pickle
import pickletools
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import refusal
from efface.data import pairs
from efface.data.pairs import read_bin
from efface.data.plain_pickle import OPCODES, read_plain_pickle
from efface.errors import InputError
from efface.testing.layouts import picture_file

multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
FILES = [picture_file(image, "PNG") for image in IMAGES]
ARRAYS = [np.frombuffer(one, np.uint8) for one in FILES]
PIXELS = [image.transpose(1, 2, 0) for image in IMAGES]
SAME = [True, False]


def objects(members: list[Any]) -> Any:
    """An array of objects."""
    array = np.empty(len(members), object)
    array[:] = members
    return array


HONEST = {
    "bytes": (FILES, SAME),
    "a list": [FILES, SAME],
    "tuples": (tuple(FILES), tuple(SAME)),
    "bytearrays": ([bytearray(one) for one in FILES], SAME),
    "arrays of bytes": (ARRAYS, SAME),
    "arrays of pixels": ([np.ascontiguousarray(one) for one in PIXELS], SAME),
    "pixels by column": ([np.asfortranarray(one) for one in PIXELS], SAME),
    "pixels with axes exchanged": (PIXELS, SAME),
    "one array of pixels": (np.stack(PIXELS), SAME),
    "an array of objects": (objects(FILES), np.array(SAME)),
    "truths as an array": (FILES, np.array(SAME)),
    "truths as whole numbers": (FILES, np.array(SAME, np.int64)),
    "truths of numpy": (FILES, [np.bool_(True), np.bool_(False)]),
    "whole numbers of numpy": (FILES, [np.int64(1), np.uint8(0)]),
    "numbers": (FILES, [1, 0.0]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("held", HONEST.values(), ids=HONEST)
def test_a_set_is_read_however_it_was_pickled(tmp_path: Path, held: object, protocol: int) -> None:
    data = pickle.dumps(held, protocol)
    for content in (data, data.replace(b"numpy._core", b"numpy.core"), data.replace(b"builtins", b"__builtin__")):
        if protocol > 3 and content != data:
            continue  # such names are as long as their opcode says
        (tmp_path / "a.bin").write_bytes(content)
        images, same = read_bin(tmp_path / "a.bin", (8, 8))
        assert (images == IMAGES).all()
        assert same.tolist() == SAME


def test_a_set_of_python_2_is_read(tmp_path: Path) -> None:
    """Strings of bytes, and a dtype named by one."""
    content = b"".join(b"T" + struct.pack("<I", len(one)) + one for one in FILES)
    (tmp_path / "a.bin").write_bytes(b"\x80\x02]q\x00(" + content + b"e](I01\nI00\ne\x86.")
    images, same = read_bin(tmp_path / "a.bin", (8, 8))
    assert (images == IMAGES).all()
    assert same.tolist() == SAME


# What is hostile


class Made:
    """Is unpickled by calling something."""

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...], state: Any = None) -> None:
        self.made_by = (call, arguments) if state is None else (call, arguments, state)

    def __reduce__(self) -> Any:
        return self.made_by


def forged(state: tuple[Any, ...], code: str = "O") -> Made:
    return Made(np.dtype, (code, False, True), state)


def array(dtype: Any, shape: tuple[int, ...], content: object) -> Made:
    return Made(multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, content))


POINTERS = b"\x41" * 32
HUGE = struct.pack("<Q", 2**33)
HOSTILE = {
    "pointers as objects": (FILES, array(forged((3, "|", None, None, None, -1, -1, 0)), (4,), POINTERS)),
    "an item of a gibibyte": (FILES, array(forged((3, "|", None, None, None, 1 << 30, 1, 0), "V8"), (4,), POINTERS)),
    "objects as parts": (
        FILES,
        array(forged((3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0), "V8"), (4,), POINTERS),
    ),
    "more than there is": ([array(np.dtype("u1"), (1 << 33,), b"x")] * 4, SAME),
    "less than nothing": ([array(np.dtype("u1"), (-1, -4), b"xxxx")] * 4, SAME),
    "a scalar of objects": (FILES, [Made(multiarray.scalar, (np.dtype("O"), b"\x41" * 8))] * 2),
    "an array without content": ([Made(np.ndarray, ((1 << 33,), np.dtype("u1")))] * 4, SAME),
    "bytes by their number": ([Made(bytearray, (1 << 40,))] * 4, SAME),
    "text by another codec": ([Made(pickle.codecs.encode, ("x", "utf-16"))] * 4, SAME),  # type: ignore[attr-defined]
    "numbers of text": ([np.array(["a", "b"])] * 4, SAME),
    "big-endian numbers": (FILES, np.array(SAME, ">i4")),
    "complex numbers": (FILES, np.array([1j, 0j])),
    "a table": {"images": FILES},
    "a set": (FILES, {True, False}),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("held", HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_bytes_and_numbers_is_refused(tmp_path: Path, held: object, protocol: int) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps(held, protocol))
    assert "no verification set" in refusal(read_bin, tmp_path / "a.bin", (8, 8))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + HUGE + b"x.",
        b"\x80\x05\x96" + HUGE + b"x.",
        b"\x80\x04\x95" + HUGE + b"x.",
        b"\x80\x04\x8d" + HUGE + b"x.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02]" + b"\x85" * 100_000 + b".",
        b"\x80\x02}]" + b"2\x86" * 60 + b"Ns.",
        b"\x80\x02I" + b"9" * 5000 + b"\n.",
        b"cos\nsystem\n(S'touch ran'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",
        b"(S'touch ran'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02U\x01xQ.",
        b"cnumpy\ndtype\n(N}S'__defaults__'\n(Ntstb.",
        b"",
        b".",
        b"\x80",
    ],
)
def test_a_pickle_of_the_hands_own_making_takes_no_time_no_memory_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bin").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(read_bin, tmp_path / "a.bin", (8, 8))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "KiB"
    assert os.listdir() == ["a.bin"]


def test_many_references_to_one_photo_are_counted_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps((FILES[:1] * 20_000, [True, False] * 5_000)))
    monkeypatch.setattr(
        pairs, "check_memory", lambda needed, what: (_ for _ in ()).throw(InputError(f"{what} {needed}"))
    )
    assert f"20,000 images of 500x400, {20_000 * 3 * 400 * 500}" in refusal(read_bin, tmp_path / "a.bin", (400, 500))


@given(st.lists(st.sampled_from([one for one in pickletools.opcodes if one.name in OPCODES]), max_size=40), st.binary())
def test_any_order_of_admitted_opcodes_gives_plain_data_or_an_error(
    opcodes: list[pickletools.OpcodeInfo], data: bytes
) -> None:
    content = b"".join(one.code.encode("latin-1") + data[place : place + 2] for place, one in enumerate(opcodes)) + b"."
    try:
        found = read_plain_pickle(content)
    except Exception:
        return
    assert not isinstance(found, (dict, set, type))
