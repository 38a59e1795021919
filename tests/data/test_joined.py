"""Faces of several sources as one: written once, mapped by every process, and made again where they are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import faces_of
from efface.data.faces import BLOCK, Faces, joined


def on_disk(faces: Faces, path: Path) -> Faces:
    """The same faces, their images mapped from a file."""
    np.save(path, faces.images[:])
    return replace(faces, images=replace(faces.images, store=np.load(path, mmap_mode="r")))


@pytest.mark.parametrize("mapped", [False, True])
def test_faces_of_two_sources_follow_each_other(mapped: bool, tmp_path: Path) -> None:
    first, second = faces_of({"a": 3, "b": 2}), faces_of({"c": BLOCK // 2 + 5})
    path = tmp_path / "faces" / "joined.npy"
    if mapped:
        second = on_disk(second, tmp_path / "second.npy")
    whole = joined([first, second], path if mapped else None)
    assert whole.keys.tolist() == [*first.keys, *second.keys]
    np.testing.assert_array_equal(whole.images[:], np.concatenate([first.images[:], second.images[:]]))
    assert isinstance(whole.images.store, np.memmap) == mapped
    assert path.exists() == mapped


def test_what_stands_there_is_mapped_and_what_is_damaged_is_written_again(tmp_path: Path) -> None:
    parts = [on_disk(faces_of({"a": 3}), tmp_path / "a.npy"), faces_of({"b": 4})]
    path = tmp_path / "joined.npy"
    joined(parts, path)
    written = path.stat().st_mtime_ns
    joined(parts, path)
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(joined(parts, path).images[:], joined(parts).images[:])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.npy", "joined.npy"]
