"""Sources become faces: selected, grouped and joined as asked, with every face that cannot be right named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import TABLE, loaded, packed, refusal
from efface.experiment.loading import LoadedFaces, load_sources
from efface.files import exclusive
from efface.plan.tables import Source
from efface.progress import Lines, Progress
from efface.tasks import TASKS


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    """The table above as a packed source."""
    return {"name": "packed", "path": packed(tmp_path / "packed")}


def test_faces_are_the_columns_of_the_table(source: dict[str, Any]) -> None:
    found = loaded(source)
    assert found.faces.keys.tolist() == list(TABLE["key"])
    assert found.faces.identities.tolist() == list(TABLE["person"])
    assert found.faces.groups.tolist() == [""] * 6
    assert found.faces.targets.tolist() == [[[5, 3], [2, 3]]] * 6
    assert found.faces.images[:][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert found.table["key"].tolist() == found.faces.keys.tolist()


def test_only_keeps_the_rows_of_some_values_with_their_images(source: dict[str, Any]) -> None:
    found = loaded(source | {"only": {"race": ["White", "East Asian"], "age": ["40", "30"]}})
    assert found.faces.keys.tolist() == ["a2", "a1", "b1"]
    assert found.table["key"].tolist() == ["a2", "a1", "b1"]
    assert found.faces.images[np.arange(3)][:, 0, 0, 0].tolist() == [0, 1, 2]


def test_so_many_photos_of_each_person_are_kept_the_first_by_key(source: dict[str, Any]) -> None:
    found = loaded(source | {"per_person": 1})
    assert found.faces.keys.tolist() == ["a1", "b1", "c1"]
    assert found.faces.images[np.arange(3)][:, 0, 0, 0].tolist() == [1, 2, 4]


def test_one_group_holds_for_all_of_a_source(source: dict[str, Any]) -> None:
    assert set(loaded(source | {"group": "mine"}).faces.groups.tolist()) == {"mine"}


def test_a_column_holds_the_groups(source: dict[str, Any]) -> None:
    assert loaded(source | {"group_by": "race"}).faces.groups.tolist() == list(TABLE["race"])
    assert loaded(source | {"group_by": "age"}).faces.groups.tolist() == ["30", "30", "40", "41", "50", "50"]


def test_a_column_named_group_holds_them_unasked(tmp_path: Path) -> None:
    folder = packed(tmp_path / "packed", TABLE.rename(columns={"race": "group"}))
    assert loaded({"name": "packed", "path": folder}).faces.groups.tolist() == list(TABLE["race"])


@pytest.mark.parametrize("settings", [{}, {"group_by": "group"}])
def test_a_gap_among_the_groups_is_an_unknown_group_and_shortens_no_other(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = packed(tmp_path / "packed", TABLE.assign(group=[10.0, 10.0, 12.0, 12.0, np.nan, np.nan]))
    groups = loaded({"name": "packed", "path": folder} | settings).faces.groups.tolist()
    assert groups == ["10.0", "10.0", "12.0", "12.0", "", ""]


def test_two_sources_have_their_place_before_each_key_and_share_people(tmp_path: Path) -> None:
    other = packed(tmp_path / "other", TABLE.iloc[:3])
    found = loaded(
        {"name": "packed", "path": packed(tmp_path / "packed"), "per_person": 1, "group": "first"},
        {"name": "packed", "path": other, "group": "second"},
    )
    assert found.faces.keys.tolist() == ["0:a1", "0:b1", "0:c1", "1:a2", "1:a1", "1:b1"]
    assert found.faces.identities.tolist() == ["Ann", "Bob", "Cyd", "Ann", "Ann", "Bob"]
    assert found.faces.groups.tolist() == ["first"] * 3 + ["second"] * 3
    assert found.faces.images[np.arange(6)][:, 0, 0, 0].tolist() == [1, 2, 4, 0, 1, 2]
    assert len(found.table) == 6


def test_sources_of_different_shapes_are_refused(tmp_path: Path) -> None:
    folders = [packed(tmp_path / str(height), shape=(1, height, 8)) for height in (6, 7)]
    message = refusal(loaded, *({"name": "packed", "path": folder} for folder in folders))
    assert "(1, 6, 8), (1, 7, 8)" in message


def test_the_signature_follows_images_labels_and_selection_but_not_the_place(
    tmp_path: Path, source: dict[str, Any]
) -> None:
    moved = source | {"path": packed(tmp_path / "moved")}
    relabelled = source | {"path": packed(tmp_path / "relabelled", TABLE.assign(age=1))}
    redrawn = source | {"path": packed(tmp_path / "redrawn", shape=(3, 6, 8))}
    known = loaded(source).signature
    assert loaded(moved).signature == known
    others = [loaded(other).signature for other in (relabelled, redrawn, source | {"per_person": 1})]
    assert len({known, *others}) == 4


def test_a_generator_takes_its_settings_from_the_source() -> None:
    found = loaded({"name": "synthetic", "people": 4, "photos_per_person": 2, "size": [16, 16]})
    assert (len(found.faces), found.faces.shape) == (8, (1, 16, 16))
    assert set(found.faces.groups.tolist()) == {"A", "B"}


def test_photos_of_a_dataset_are_prepared_once(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for person in ("Ann", "Bob"):
        (photos / person).mkdir(parents=True)
        noise = np.random.default_rng(len(list(photos.iterdir()))).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / person / "1.png")
    (photos / "labels.csv").write_text(
        "path,person,left_x,left_y,right_x,right_y\nAnn/1.png,Ann,15,8,7,8\nBob/1.png,Bob,14,8,8,8\n", encoding="utf-8"
    )
    source = {"name": "folder", "path": photos, "prepare": {"size": [16, 12]}}
    first, again = (loaded(source, out=tmp_path / "out") for _ in range(2))
    assert first.faces.identities.tolist() == ["Ann", "Bob"]
    assert first.faces.shape[1:] == (12, 16)
    assert first.signature == again.signature
    assert len(list((tmp_path / "out").iterdir())) == 1


# What is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.51, 7.51])
@pytest.mark.parametrize("column", ["left_x", "right_x"])
def test_a_face_whose_eyes_are_unknown_or_outside_is_named(tmp_path: Path, column: str, bad: float) -> None:
    table = TABLE.copy()
    table.loc[3, column] = bad
    message = refusal(loaded, {"name": "packed", "path": packed(tmp_path / "packed", table)})
    assert "face 'b2'" in message
    assert "8x6 picture" in message


def test_an_eye_on_the_rim_of_the_picture_is_inside(tmp_path: Path) -> None:
    table = TABLE.assign(left_x=7.5, right_x=-0.5, left_y=5.5)
    assert len(loaded({"name": "packed", "path": packed(tmp_path / "packed", table)}).faces) == 6


def test_a_table_without_eyes_is_refused(tmp_path: Path) -> None:
    folder = packed(tmp_path / "packed", TABLE.drop(columns="left_y"))
    assert "task 'eyes': no column 'left_y'" in refusal(loaded, {"name": "packed", "path": folder})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"only": {"racce": ["White"]}}, "data.only.racce: no column 'racce'; did you mean 'race'?"),
        ({"only": {"race": ["Whiet"]}}, "data.only.race: no face has 'Whiet'; did you mean 'White'?"),
        ({"only": {"race": ["White"], "age": ["30"]}}, "no face has '30'"),
        ({"only": {"race": []}}, "no face is left"),
        ({"group_by": "raec"}, "data.group_by: no column 'raec'; did you mean 'race'?"),
        ({"name": "pakced"}, "unknown dataset 'pakced'; did you mean 'packed'?"),
        ({"name": "lfv"}, "unknown dataset 'lfv'; did you mean 'lfw'?"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(
    source: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    assert words in refusal(loaded, source | settings)


def test_a_dataset_on_disk_needs_a_path() -> None:
    assert "data 'lfw' needs a path" in refusal(loaded, {"name": "lfw"})


def test_an_unknown_setting_of_a_generator_is_refused() -> None:
    assert "did you mean 'people'?" in refusal(loaded, {"name": "synthetic", "peolpe": 3})


def drawn(folder: Path, count: int = 6) -> Path:
    """Photos of two people, each of one grey, all files of one size."""
    for number in range(count):
        (folder / f"p{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 16), 20 * number).save(folder / f"p{number % 2}" / f"{number}.bmp")
    return folder


def greys(source: dict[str, Any], out: Path) -> list[int]:
    """The grey of each face that a run would use."""
    found = load_sources([Source.model_validate(source)], TASKS["recognition"], out, Progress())
    return [int(face.mean()) for face in found.faces.images[:]]


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Any]:
    path = drawn(tmp_path / "photos")
    return {"name": "folder", "path": path, "prepare": {"size": [8, 8], "eyes": "none"}}


def test_other_processes_of_a_run_take_what_the_first_packed(photos: dict[str, Any], tmp_path: Path) -> None:
    source, out = Source.model_validate(photos), tmp_path / "faces"

    def loaded_beside_another(*, packed: bool) -> LoadedFaces:
        (folder,) = [one for one in out.iterdir() if one.is_dir()]
        with exclusive(folder.with_name(folder.name + ".lock"), "busy"):
            return load_sources([source], TASKS["recognition"], out, Progress(), packed=packed)

    first = load_sources([source], TASKS["recognition"], out, Progress())
    other = loaded_beside_another(packed=True)
    assert other.signature == first.signature
    assert np.array_equal(other.faces.images[:], first.faces.images[:])
    assert "another `efface prepare` is at work" in refusal(loaded_beside_another, packed=False)


def test_a_photo_replaced_by_one_of_the_same_size_is_read_again(photos: dict[str, Any], tmp_path: Path) -> None:
    assert greys(photos, tmp_path / "faces") == [0, 40, 80, 20, 60, 100]
    file, other = photos["path"] / "p0" / "0.bmp", photos["path"] / "p1" / "5.bmp"
    before = file.stat()
    file.write_bytes(other.read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert greys(photos, tmp_path / "faces") == [100, 40, 80, 20, 60, 100]


@pytest.mark.parametrize("name", ["images.npy", "labels.csv", "manifest.json"])
def test_packed_faces_of_a_run_that_were_damaged_are_made_again(
    photos: dict[str, Any], tmp_path: Path, name: str
) -> None:
    right = greys(photos, tmp_path / "faces")
    (file,) = (tmp_path / "faces").glob(f"*/{name}")
    whole = file.read_bytes()
    for spoilt in (whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:], whole[: len(whole) // 2], b""):
        file.write_bytes(spoilt)
        assert greys(photos, tmp_path / "faces") == right
        assert file.read_bytes() == whole


def test_packed_faces_of_the_user_that_were_damaged_are_one_line(source: dict[str, Any]) -> None:
    for name in ("images.npy", "labels.csv"):
        content = bytearray((source["path"] / name).read_bytes())
        content[-2] ^= 1
        (source["path"] / name).write_bytes(bytes(content))
        assert f"{name} is not what was written" in refusal(loaded, source)
        content[-2] ^= 1
        (source["path"] / name).write_bytes(bytes(content))
    loaded(source)


def test_a_run_says_what_was_prepared_and_left_out(
    photos: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos["path"] / "p0" / "film.mov").write_bytes(b"")
    load_sources([Source.model_validate(photos)], TASKS["recognition"], tmp_path / "faces", Lines())
    assert "6 faces of 2 people" in (said := capsys.readouterr().err)
    assert "1 file left out (1 .mov): p0/film.mov" in said
    (photos["path"] / "p1" / "5.bmp").write_bytes(b"no photo")
    said = refusal(greys, photos, tmp_path / "faces")
    assert "1 of 6 photos cannot be used" in said
    assert "p1/5.bmp cannot be decoded" in said
    skipping = photos | {"prepare": photos["prepare"] | {"skip_unreadable": True}}
    assert len(greys(skipping, tmp_path / "faces")) == 5
