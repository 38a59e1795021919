"""Copies of a person planted in stores: found, accepted, deleted, and looked for in the raw bytes."""

import hashlib
import json
import os
import pickle
import shutil
import stat
import tomllib
from pathlib import Path

import numpy as np
import pytest
from planted import Office, among, picture, vectors_of

from conftest import refusal
from efface.cli import app
from efface.erasure.record import Deletion
from efface.sweep.raw import face_forms, photo_forms, present, text_forms, vector_forms

PLANTED = range(10, 17)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def npy_and_photos(office: Office) -> tuple[np.ndarray, Path, Path]:
    """7 vectors of the person among 500, and 5 photos of 65; rows of the first."""
    vectors, rows = among(vectors_of(0, PLANTED), 500)
    gallery, tree = office.folder / "gallery.npy", office.folder / "photos"
    np.save(gallery, vectors)
    np.save(office.folder / "names.npy", np.array([f"person {row}" for row in range(len(vectors))]))
    (tree / "deep").mkdir(parents=True)
    for photo in range(3):
        picture(0, 20 + photo).save(tree / "deep" / f"{photo}.png")
    picture(0, 30).save(tree / ".cache", "PNG")
    shutil.copy(office.folder / "examples" / "0.png", tree / "copy.png")
    for person in range(1, 21):
        for photo in range(3):
            picture(person, photo).save(tree / f"{person}-{photo}.png")
    (tree / "notes.txt").write_text("no photo")
    office.stores(
        {"name": "search index", "kind": "arrays", "path": "gallery.npy", "beside": ["names.npy"]},
        {"name": "uploads", "kind": "photos", "path": "photos"},
    )
    return rows, gallery, tree


def test_found_accepted_deleted_and_gone_from_the_bytes(office: Office) -> None:
    rows, gallery, tree = npy_and_photos(office)
    gallery.chmod(0o640)
    before = np.load(gallery)
    office.sweep()
    table = office.table
    assert set(table["location"][table["store"] == "search index"]) == {f"row {row}" for row in rows}
    assert set(table["location"][table["suggested"] == "yes"]) >= {"copy.png", ".cache", "deep/0.png"}
    assert stat.S_IMODE((office.folder / "out" / "found.csv").stat().st_mode) == 0o600
    assert np.array_equal(np.load(gallery), before)

    done = office.sweep(apply=office.accept(), by="officer 7")
    assert {name: (one.accepted, one.deleted, one.surviving) for name, one in done.items()} == {
        "search index": (7, 7, 0),
        "uploads": (5, 5, 0),
    }
    assert done["search index"].readable == 7
    assert done["uploads"].readable == 5
    after, names = np.load(gallery), np.load(office.folder / "names.npy")
    kept = np.delete(np.arange(507), rows)
    assert np.array_equal(after, before[kept])
    assert names.tolist() == [f"person {row}" for row in kept]
    assert stat.S_IMODE(gallery.stat().st_mode) == 0o640
    assert len([one for one in tree.rglob("*") if one.is_file()]) == 61


def test_a_record_takes_what_was_deleted(office: Office) -> None:
    npy_and_photos(office)
    office.swept()
    tables = tomllib.loads((office.folder / "out" / "deletions.toml").read_text())
    entries = [Deletion.model_validate(one) for one in tables["deletions"]]
    assert [(one.store, one.where, one.count, one.state) for one in entries] == [
        ("gallery", "search index", 7, "deleted"),
        ("photos", "uploads", 5, "deleted"),
    ]
    swept = json.loads((office.folder / "out" / "sweep.json").read_text())
    assert {one["by"] for one in swept} == {"officer 7"}


def test_what_was_not_accepted_stays(office: Office) -> None:
    _, gallery, tree = npy_and_photos(office)
    shutil.copy(tree / "copy.png", tree / "twin.png")
    office.sweep()
    table = office.table
    done = office.sweep(apply=office.accept(table["location"] == "copy.png"), by="me")
    assert (done["uploads"].deleted, done["search index"].accepted) == (1, 0)
    assert done["uploads"].surviving == 1, "its twin was not accepted"
    assert len(np.load(gallery)) == 507
    assert (tree / "deep" / "0.png").exists()


def test_a_copy_in_a_file_of_another_kind_survives_and_is_told(office: Office) -> None:
    rows, gallery, tree = npy_and_photos(office)
    (tree / "core.dump").write_bytes(b"x" * 13 + np.load(gallery)[rows[0]].astype(np.float16).tobytes() + b"y")
    done = office.swept()
    assert done["uploads"].surviving == 1
    assert done["uploads"].where == {"core.dump": {"float16": 1}}
    assert not done["uploads"].clean
    assert 'state = "to do"' in (office.folder / "out" / "deletions.toml").read_text()


def test_a_store_that_changed_is_refused_whole(office: Office) -> None:
    _, gallery, _ = npy_and_photos(office)
    office.sweep()
    accepted = office.accept()
    np.save(gallery, np.load(gallery)[1:])
    assert "no longer what was found" in refusal(office.sweep, apply=accepted, by="me")
    assert len(np.load(gallery)) == 506
    assert (office.folder / "photos" / "copy.png").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efface.sweep.store.LARGEST", 100_000)
    np.savez_compressed(office.folder / "gallery.npz", vectors=np.zeros((1000, 192), np.float32))
    office.stores({"name": "a", "kind": "arrays", "path": "gallery.npz"})
    assert "unpacks to 768,128 bytes" in refusal(office.sweep)


def test_a_table_with_words_in_it_is_not_replaced(office: Office) -> None:
    npy_and_photos(office)
    office.sweep()
    shutil.copy(office.accept(), office.folder / "out" / "found.csv")
    assert "has been written into" in refusal(office.sweep)


def test_a_forged_location_deletes_nothing(office: Office) -> None:
    npy_and_photos(office)
    (office.folder / "outside.png").write_bytes((office.folder / "photos" / "copy.png").read_bytes())
    office.sweep()
    table = office.table
    accepted = office.accept(table["location"] == "copy.png")
    accepted.write_text(accepted.read_text().replace("copy.png", "../outside.png"))
    assert "no longer what was found" in refusal(office.sweep, apply=accepted, by="me")
    assert (office.folder / "outside.png").exists()


def test_names_that_no_table_holds_and_results_within_a_store(office: Office) -> None:
    _, _, tree = npy_and_photos(office)
    picture(0, 1).save(tree / "=1+1.png")
    assert office.swept()["uploads"].deleted == 6
    office.stores({"name": "a", "kind": "photos", "path": "."})
    assert "lies in the store 'a'" in refusal(office.sweep)
    office.stores({"name": "a", "kind": "photos", "path": "photos"})
    (office.folder / "out" / "found.csv").unlink()
    os.rename(tree / "1-0.png", os.fsencode(tree) + b"/\xff.png")
    assert "not UTF-8" in refusal(office.sweep)


def test_links_lead_nowhere(office: Office) -> None:
    _, gallery, tree = npy_and_photos(office)
    elsewhere = office.folder / "elsewhere"
    elsewhere.mkdir()
    picture(0, 40).save(elsewhere / "mine.png")
    os.symlink(elsewhere, tree / "linked")
    os.symlink(elsewhere / "mine.png", tree / "mine.png")
    office.swept()
    assert (elsewhere / "mine.png").exists()
    gallery.rename(office.folder / "real.npy")
    os.symlink(office.folder / "real.npy", gallery)
    (office.folder / "out" / "found.csv").unlink()
    assert "is a link" in refusal(office.sweep)


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ("", "'store' is missing"),
        ('[[store]]\nname="a"\nkind="oracle"\npath="x"', "kind"),
        ('[[store]]\nname="a"\nkind="photos"\npath="x"\narch="os:system"', "unknown setting"),
        ('[[store]]\nname="a"\nkind="photos"\npath="nowhere"', "does not exist"),
        ('[[store]]\nname="a"\nkind="photos"\npath="x"\n[[store]]\nname="a"\nkind="photos"\npath="y"', "two stores"),
        ('[[store]]\nname="a"\nkind="arrays"\npath="x.pkl"', "npy"),
        ("[[store", "not valid TOML"),
    ],
)
def test_stores_that_cannot_be_used(office: Office, toml: str, complaint: str) -> None:
    (office.folder / "stores.toml").write_text(toml)
    assert complaint in refusal(office.sweep)


def test_vectors_of_another_model_are_refused(office: Office) -> None:
    np.save(office.folder / "gallery.npy", np.ones((30, 7), np.float32))
    office.stores({"name": "a", "kind": "arrays", "path": "gallery.npy"})
    assert "give the model that they were made with" in refusal(office.sweep)


def test_deleting_needs_a_name_and_words_that_are_known(office: Office) -> None:
    npy_and_photos(office)
    office.sweep()
    accepted = office.accept()
    assert "--by" in refusal(office.sweep, apply=accepted)
    accepted.write_text(accepted.read_text().replace(",yes,yes,", ",yes,perhaps,"))
    assert "perhaps" in refusal(office.sweep, apply=accepted, by="me")
    assert "accepts nothing" in refusal(office.sweep, apply=office.folder / "out" / "found.csv", by="me")


@pytest.mark.parametrize(
    ("kind", "offset"), [(np.float16, 1), (np.float32, 0), (np.float32, 2**24 - 40), (np.float64, 7)]
)
def test_bytes_of_a_vector_are_found_wherever_they_lie(tmp_path: Path, kind: type, offset: int) -> None:
    vector = 3 * vectors_of(0, [5])[0]
    for name, stored in (("long", vector), ("unit", vector / np.linalg.norm(vector))):
        (tmp_path / name).write_bytes(bytes(offset) + stored.astype(kind).tobytes()[24:-8])
    found, _ = present([tmp_path / "long", tmp_path / "unit"], [vector_forms(vector), vector_forms(-vector)])
    assert set(found[tmp_path / "long"]) == {np.dtype(kind).name}
    assert all(numbers == {0} for forms in found.values() for numbers in forms.values())
    assert (tmp_path / "unit") in found


def test_bytes_of_a_pickled_vector_are_found(tmp_path: Path) -> None:
    vector = vectors_of(0, [5])[0]
    (tmp_path / "a").write_bytes(b"odd" + pickle.dumps({"vector": vector.tolist()}))
    rounded = vector * np.float32(1 + 2e-7)
    found, _ = present([tmp_path / "a"], [vector_forms(rounded), vector_forms(vectors_of(0, [6])[0])])
    assert found == {tmp_path / "a": {"pickled": {0}}}


def test_bytes_of_a_photo_are_its_own(tmp_path: Path) -> None:
    for person in range(20):
        picture(person, 0).save(tmp_path / f"{person}.jpg", quality=80)
    one = (tmp_path / "7.jpg").read_bytes()
    (tmp_path / "backup.tar").write_bytes(b"head" + one + bytes(100))
    (tmp_path / "hashes.txt").write_text(f"7.jpg {hashlib.sha256(one).hexdigest()}")
    found, _ = present(sorted(tmp_path.iterdir()), [photo_forms(one)])
    assert {file.name: set(forms) for file, forms in found.items()} == {
        "7.jpg": {"photo bytes"},
        "backup.tar": {"photo bytes"},
        "hashes.txt": {"SHA-256 in letters"},
    }


def test_bytes_of_others_are_not_the_persons(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(vectors_of(1, range(300)).tobytes())
    needles = [vector_forms(one) for one in vectors_of(0, range(20))]
    needles += [
        photo_forms(os.urandom(4000)),
        text_forms("0.25,0.5,0.75,1.0"),
        face_forms(np.zeros((3, 9, 9), np.uint8)),
    ]
    assert present([tmp_path / "a", tmp_path / "missing"], needles) == ({}, [])


def test_command(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    npy_and_photos(office)
    place = office.folder
    given = [str(place / "examples"), "--stores", str(place / "stores.toml"), "--model", str(place / "net.pt")]
    given += ["--arch", "planted:build", "--size", "8", "8", "--out", str(place / "out")]
    app(["sweep", *given], standalone_mode=False)
    assert "nothing was changed" in capsys.readouterr().out
    app(["sweep", *given, "--apply", str(office.accept()), "--by", "officer 7"], standalone_mode=False)
    assert "search index: 7 found, 7 accepted, 7 deleted" in capsys.readouterr().out
