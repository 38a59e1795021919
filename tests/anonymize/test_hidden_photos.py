"""Photos with their eyes hidden: no original changed, none left out without a word, one at a time in memory."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from conftest import refusal
from efface.anonymize import photos as anonymizing
from efface.anonymize.photos import Hidden, copy_names, hide
from efface.data.photos import load
from efface.models import MODELS
from efface.models.load import recorded_network, save_weights

PHOTO = np.random.default_rng(0).integers(50, 200, (60, 80, 3), np.uint8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that always answers (0.65, 0.4) and (0.35, 0.4) of the picture."""
    return saved(tmp_path_factory.mktemp("weights") / "w.safetensors", [0.15, -0.1, -0.15, -0.1])


def saved(path: Path, answer: list[float]) -> Path:
    """A network that always answers these eyes, from the centre in shares of the sides."""
    model = MODELS["eyenet"]((1, 24, 24), widths=(4, 6, 8), hidden=16)
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    state["head.3.bias"] = torch.tensor(answer)
    model.load_state_dict(state)
    record = {"model": "eyenet", "model_settings": {"widths": [4, 6, 8], "hidden": 16}, "shape": [1, 24, 24]}
    save_weights(model, path, record)
    return path


def put(folder: Path, *names: str, **settings: Any) -> Path:
    """The photo under these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PHOTO).save(folder / name, **settings)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(photos: Path, weights: Path, out: Path, **settings: Any) -> str:
    """The one line of a refusal, before which nothing is written or changed."""
    place = out.parent
    before = files_of(place)
    said = refusal(hide, photos, weights, out, "cover", **settings)
    assert files_of(place) == before
    return said


def bar(file: Path) -> NDArray[np.bool_]:
    """(h, w) where a copy is black."""
    black: NDArray[np.bool_] = np.asarray(Image.open(file).convert("L")) == 0
    return black


def test_every_photo_below_a_folder_has_a_copy_and_the_rest_is_named(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    names = ["a.jpg", "b.png", "c.avif", "d.gif", "e.webp", "f.tif", "g.heic", "h.bmp", "i.ppm", "deep/er/j.JPG"]
    photos = put(tmp_path / "photos", *names)
    Image.fromarray(PHOTO).save(photos / "k.jfif", "JPEG")
    for name in ("l.mov", "notes.txt", "raw.cr2", ".hidden.png", "nosuffix"):
        (photos / name).write_bytes(b"anything")
    before = files_of(photos)
    done = hide(photos, weights, tmp_path / "out", "cover")
    copies = {Path(name).with_suffix(".png").as_posix() for name in (*names, "k.jfif")}
    assert set(files_of(tmp_path / "out")) == copies
    assert {copy.relative_to(tmp_path / "out").as_posix() for copy in done.copies.values()} == copies
    assert set(done.left_out) == {"l.mov", "notes.txt", "raw.cr2", ".hidden.png", "nosuffix"}
    assert files_of(photos) == before
    for name in copies:
        assert bar(tmp_path / "out" / name)[20:28, 22:58].all(), name


@pytest.mark.parametrize("style", ["cover", "pixelate", "blur"])
def test_what_is_around_the_bar_decides_alone(tmp_path: Path, weights: Path, style: str) -> None:
    """Work on a part of the photo gives what work on all of it would."""
    large = np.random.default_rng(1).integers(0, 256, (300, 500, 3), np.uint8)
    Image.fromarray(large).save(tmp_path / "a.png")
    small = saved(tmp_path / "w.safetensors", [0.05, -0.3, -0.05, -0.28])
    hide(tmp_path / "a.png", small, tmp_path / "out", style)
    model = recorded_network(small)
    eyes = anonymizing.eyes_on(model, Image.fromarray(large), (1, 24, 24))
    expected = anonymizing.STYLES[style](large.transpose(2, 0, 1)[None], eyes)[0].transpose(1, 2, 0)
    found = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(found, expected)
    assert 500 < (found != large).any(2).sum() < 5000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_telephones_photo_is_hidden_upright(tmp_path: Path, weights: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    upright = Image.fromarray(np.dstack([np.tile(np.arange(60, 200, dtype=np.uint8), (120, 1))] * 3))
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=100)
    hide(tmp_path / "a.jpg", weights, tmp_path / "out", "cover")
    with Image.open(tmp_path / "out" / "a.png") as copy:
        assert copy.size == upright.size
        assert not copy.getexif()
        assert not copy.info.get("exif")
    assert bar(tmp_path / "out" / "a.png")[44:52, 46:94].all()
    grey = np.asarray(Image.open(tmp_path / "out" / "a.png").convert("L")).astype(int)
    assert np.abs(grey - np.asarray(upright.convert("L")))[70:].max() < 8


def test_sixteen_bits_are_no_white_picture(tmp_path: Path, weights: Path) -> None:
    Image.fromarray(PHOTO[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    hide(tmp_path / "deep.png", weights, tmp_path / "out", "cover")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "deep.png"))[40:, :, 0], PHOTO[40:, :, 0])


def test_names_are_unique_by_construction(tmp_path: Path, weights: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "a.png", "A.bmp", "a.jpg.bmp", "b.gif", "x/a.jpg")
    done = hide(photos, weights, tmp_path / "out", "cover")
    assert len(set(done.copies.values())) == 6
    assert set(files_of(tmp_path / "out")) == {
        "a.jpg-2.png", "a.png.png", "A.bmp.png", "a.jpg.png", "b.png", "x/a.png",
    }  # fmt: skip


def test_no_two_copies_are_one_to_any_system() -> None:
    def check(*names: str) -> list[str]:
        found = [str(name) for name in copy_names([Path(name) for name in names])]
        assert len({name.casefold() for name in found}) == len(names)
        assert not {Path(name) for name in found} & {above for name in names for above in Path(name).parents}
        return found

    assert check("a.jpg") == ["a.png"]
    check("a.jpg", "A.JPG", "a.jpg.jpg", "A.jpg.png", "a.jpg-2.png")
    check("s.jpg", "s.png/a.jpg")
    check("é.jpg", "e\u0301.png")
    check(*[f"a.{suffix}" for suffix in ("jpg", "png", "jpeg", "bmp", "jpg.png", "jpg.png.png", "jpg-2.png")])


# No original is ever overwritten


def test_the_folder_of_the_photos_is_no_place_for_copies(tmp_path: Path, weights: Path) -> None:
    above = tmp_path / "above"
    photos = put(above / "photos", "a.png", "sub/b.png")
    (above / "link").symlink_to(photos)
    for out in (photos, above / "link", photos / "sub", photos / "sub" / "..", above):
        assert "the photos lie in" in refused(photos, weights, out)
    assert "the photos lie in" in refused(photos / "a.png", weights, photos)
    hide(photos, weights, photos / "hidden", "cover")
    assert "the photos lie in" in refused(photos, weights, photos / "hidden")  # it would hide what is hidden


def test_nothing_that_is_there_is_overwritten(tmp_path: Path, weights: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "b.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(b"somebody's")
    assert "holds b.png, which is no copy of ours" in refused(photos, weights, tmp_path / "out")
    Image.fromarray(PHOTO).save(tmp_path / "out" / "b.png")
    assert "holds b.png, which is no copy of ours" in refused(photos, weights, tmp_path / "out")
    (tmp_path / "out" / "b.png").unlink()
    (tmp_path / "out" / "kept.png").write_bytes(b"somebody's")
    hide(photos, weights, tmp_path / "out", "cover")
    assert (tmp_path / "out" / "kept.png").read_bytes() == b"somebody's"
    (tmp_path / "out" / "b.png").rename(tmp_path / "elsewhere.png")
    os.symlink(tmp_path / "elsewhere.png", tmp_path / "out" / "b.png")
    assert "holds b.png, which is no copy of ours" in refused(photos, weights, tmp_path / "out")


def test_copies_of_an_earlier_call_are_made_again(tmp_path: Path, weights: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg", "b.jpg")
    assert hide(photos, weights, tmp_path / "out", "cover").replaced == 0
    before = files_of(tmp_path / "out")
    assert hide(photos, weights, tmp_path / "out", "cover").replaced == 2
    assert files_of(tmp_path / "out") == before


def test_a_place_that_is_a_file_is_refused(tmp_path: Path, weights: Path) -> None:
    photos = put(tmp_path / "photos", "a.jpg")
    (tmp_path / "out").write_text("a file")
    assert "a file stands there" in refused(photos, weights, tmp_path / "out")


# What cannot be hidden


def test_bad_photos_are_all_named_before_anything_is_written(tmp_path: Path, weights: Path) -> None:
    photos = put(tmp_path / "photos", "a.png", "b.jpg", "c.png")
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    os.mkfifo(photos / "pipe.jpg")
    said = refused(photos, weights, tmp_path / "out")
    assert said.startswith("3 of 5 photos cannot be used; nothing was written")
    assert all(name in said for name in ("a.png cannot", "x.heic cannot", "pipe.jpg cannot be decoded (it is a pipe"))
    assert not (tmp_path / "out").exists()
    done = hide(photos, weights, tmp_path / "out", "cover", skip_unreadable=True)
    assert set(files_of(tmp_path / "out")) == {"b.png", "c.png"}
    assert set(done.left_out) == {"a.png", "x.heic", "pipe.jpg"}
    (photos / "b.jpg").write_bytes(b"")
    (photos / "c.png").write_bytes(b"")
    assert "5 of 5" in refused(photos, weights, tmp_path / "other", skip_unreadable=True)


@pytest.mark.parametrize(
    "answer", [[0.0, 0.0, 0.0, 0.0], [float("nan")] * 4, [9.0, 9.0, 8.0, 9.0], [float("inf"), 0, 0, 0]]
)
def test_a_photo_without_eyes_is_named_not_copied_as_it_is(tmp_path: Path, answer: list[float]) -> None:
    blind = saved(tmp_path / "w.safetensors", answer)
    photos = put(tmp_path / "photos", "a.png")
    assert "a.png shows no eyes to the model" in refused(photos, blind, tmp_path / "out")


def test_a_folder_without_photos_says_what_it_holds(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "film.mov").write_bytes(b"")
    assert "1 file left out (1 .mov): film.mov" in refused(tmp_path / "photos", weights, tmp_path / "out")
    assert "cannot be decoded (No such file" in refused(tmp_path / "gone.png", weights, tmp_path / "out")


def test_one_photo_at_a_time_is_in_memory(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = put(tmp_path / "photos", *[f"{number}.png" for number in range(12)])
    alive: list[weakref.ref[Image.Image]] = []
    most = 0

    def counted(path: Path, *, upright: bool) -> Image.Image:
        nonlocal most
        most = max(most, sum(one() is not None for one in alive))
        photo = load(path, upright=upright)
        alive.append(weakref.ref(photo))
        return photo

    monkeypatch.setattr(anonymizing, "load", counted)
    hide(photos, weights, tmp_path / "out", "cover")
    assert len(alive) == 24
    assert most <= 1


def test_each_copy_is_told_of_when_it_stands(tmp_path: Path, weights: Path) -> None:
    photos, seen = put(tmp_path / "photos", "a.png", "b.png"), []

    def wrote(photo: Path, copy: Path) -> None:
        assert copy.exists()
        seen.append((photo.name, copy.name))

    assert isinstance(hide(photos, weights, tmp_path / "out", "cover", wrote=wrote), Hidden)
    assert seen == [("a.png", "a.png"), ("b.png", "b.png")]
