"""Every kind of store with copies planted in it: all are found, what is accepted and nothing else is deleted, and the
bytes of the files say what is left."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from conftest import refusal
from efface.cli import app
from efface.erasure.record import Deletion
from efface.files import sha256_of
from efface.sweep.raw import CHUNK, SLICE, of_vector, slices, surviving
from efface.sweep.sweep import apply, find_copies, read_stores

SIDE = 8
WIDTH = 3 * SIDE * SIDE
OTHERS, COPIES = 200, 7
Vectors = NDArray[np.float32]


class Net(nn.Module):
    """Two photos are as alike as their pixels are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat: torch.Tensor = (images * self.weight).flatten(1)
        return flat


def build(_shape: tuple[int, int, int]) -> nn.Module:
    """As --arch names it."""
    return Net()


def picture(person: int, photo: int) -> Image.Image:
    own = np.random.default_rng([7, person]).normal(0, 45, (SIDE, SIDE, 3))
    pixels = 128 + own + np.random.default_rng([8, person, photo]).normal(0, 15, own.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def vector_of(person: int, photo: int) -> Vectors:
    """(d,) what the network answers to a photo and to its mirror image, added."""
    pixels = np.asarray(picture(person, photo), float).transpose(2, 0, 1) / 127.5 - 1
    return (pixels + pixels[:, :, ::-1]).ravel().astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    (tmp_path / "examples").mkdir()
    for photo in range(3):
        picture(0, photo).save(tmp_path / "examples" / f"{photo}.png")
    return tmp_path


@pytest.fixture
def gallery(folder: Path) -> tuple[Vectors, list[int]]:
    """Vectors of different lengths (n, d), and in which rows the person's are."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 1, (OTHERS + COPIES, WIDTH))
    mine = sorted(rng.permutation(len(vectors))[:COPIES].tolist())
    for photo, row in enumerate(mine):
        vectors[row] = vector_of(0, 20 + photo) * (1 + photo)
    return vectors.astype(np.float32), mine


Made = tuple[str, list[str]]
"""The lines of a `[[store]]`, and the places of the person."""


def npy(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    np.save(folder / "gallery.npy", vectors)
    (folder / "names.txt").write_text("".join(f"name {row}\n" for row in range(len(vectors))), "utf-8")
    return 'kind = "array"\npath = "gallery.npy"\nbeside = ["names.txt"]', [str(row) for row in mine]


def npz(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    np.savez(folder / "gallery.npz", embeddings=vectors, names=np.arange(len(vectors)), version=np.array(3))
    return 'kind = "array"\npath = "gallery.npz"', [str(row) for row in mine]


def csv_lists(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    cells = [json.dumps([round(float(one), 4) for one in row]) for row in vectors]
    pd.DataFrame({"id": [f"0{row}" for row in range(len(vectors))], "vec": cells}).to_csv(folder / "t.csv", index=False)
    return 'kind = "table"\npath = "t.csv"\nvector = "vec"', [str(row) for row in mine]


def csv_columns(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    table = pd.DataFrame(vectors, columns=[f"e{place}" for place in range(WIDTH)])
    table.to_csv(folder / "t.csv", index=False)
    return 'kind = "table"\npath = "t.csv"\nvector = "e*"', [str(row) for row in mine]


def parquet(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"id": range(len(vectors)), "vec": list(vectors)}).to_parquet(folder / "t.parquet", index=False)
    return 'kind = "table"\npath = "t.parquet"\nvector = "vec"', [str(row) for row in mine]


def sqlite(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    with closing(sqlite3.connect(folder / "f.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE faces (id INTEGER PRIMARY KEY, embedding BLOB)")
        connection.executemany(
            "INSERT INTO faces VALUES (?, ?)", [(10 + row, one.tobytes()) for row, one in enumerate(vectors)]
        )
        connection.execute("INSERT INTO faces VALUES (5, NULL)")
        connection.commit()
    return 'kind = "sqlite"\npath = "f.db"\ntable = "faces"', [str(10 + row) for row in mine]


def faiss_flat(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors)
    faiss.write_index(index, str(folder / "i.faiss"))
    return 'kind = "faiss"\npath = "i.faiss"', [str(row) for row in mine]


def faiss_ids(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(WIDTH))
    index.add_with_ids(vectors, np.arange(len(vectors), dtype=np.int64) * 3 + 1)
    faiss.write_index(index, str(folder / "i.faiss"))
    return 'kind = "faiss"\npath = "i.faiss"', [str(3 * row + 1) for row in mine]


def qdrant(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    client_of = pytest.importorskip("qdrant_client")
    from qdrant_client.models import Distance, PointStruct, VectorParams

    client = client_of.QdrantClient(path=str(folder / "qdrant"))
    client.create_collection("faces", VectorParams(size=WIDTH, distance=Distance.DOT))
    client.upsert("faces", [PointStruct(id=row, vector=one.tolist()) for row, one in enumerate(vectors)])
    client.close()
    return 'kind = "qdrant"\npath = "qdrant"\ncollection = "faces"', [str(row) for row in mine]


def chroma(folder: Path, vectors: Vectors, mine: list[int]) -> Made:
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(str(folder / "chroma"), chromadb.Settings(anonymized_telemetry=False))
    client.create_collection("faces").add(ids=[f"face {row}" for row in range(len(vectors))], embeddings=vectors)
    return 'kind = "chroma"\npath = "chroma"\ncollection = "faces"', [f"face {row}" for row in mine]


MAKERS: list[Callable[[Path, Vectors, list[int]], Made]] = [
    *(npy, npz, csv_lists, csv_columns, parquet, sqlite, faiss_flat, faiss_ids, qdrant, chroma)
]


def swept(folder: Path, lines: str, **settings: Any) -> pd.DataFrame:
    (folder / "stores.toml").write_text(f'[[store]]\nname = "gallery"\nbackups_expire = 2027-01-31\n{lines}\n', "utf-8")
    return find_copies(
        *(folder / "examples", folder / "stores.toml", folder / "out"),
        model=folder / "net.pt",
        arch=f"{__name__}:build",
        contract=contract_of(folder),
        **settings,
    )


def contract_of(folder: Path) -> Path:

    text = (
        f'[model]\nsha256 = "{sha256_of(folder / "net.pt")}"\n[contract]\nsize = [{SIDE}, {SIDE}]\ntemplate = "whole"\n'
    )
    (folder / "contract.toml").write_text(text, "utf-8")
    return folder / "contract.toml"


def accept(folder: Path, places: list[str]) -> Path:
    path = folder / "out" / "found.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table["accept"] = np.where(table["place"].isin(places), "yes", "")
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("make", MAKERS)
def test_all_copies_are_found_and_what_is_accepted_is_deleted(
    folder: Path, gallery: tuple[Vectors, list[int]], make: Callable[[Path, Vectors, list[int]], Made]
) -> None:
    vectors, mine = gallery
    lines, places = make(folder, vectors, mine)
    assert sorted(swept(folder, lines)["place"]) == sorted(places)
    kept, *accepted = places
    (done,) = apply(accept(folder, accepted), folder / "stores.toml", folder / "out", by="privacy@example.org")
    assert (done.found, done.accepted, done.deleted) == (COPIES, COPIES - 1, COPIES - 1)
    shutil.rmtree(folder / "out")
    left = swept(folder, lines)
    assert len(left) == 1, kept
    (store,) = read_stores(folder / "stores.toml")
    assert len(list(store.everything())) == OTHERS + 1, "nobody else's is gone"
    assert done.visible == COPIES - 1 or make in (csv_lists, csv_columns, parquet), "numbers that are rounded or packed"
    if make is not chroma:
        assert done.surviving == 0, done.where


def test_what_stands_row_by_row_beside_loses_the_same_rows(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    vectors, mine = gallery
    lines, places = npy(folder, vectors, mine)
    swept(folder, lines)
    apply(accept(folder, places), folder / "stores.toml", folder / "out", by="x")
    rows = [row for row in range(len(vectors)) if row not in mine]
    assert (folder / "names.txt").read_text("utf-8").splitlines() == [f"name {row}" for row in rows]
    assert np.array_equal(np.load(folder / "gallery.npy"), vectors[rows])


def test_cells_that_stay_are_written_as_they_were(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    lines, places = csv_lists(folder, *gallery)
    before = (folder / "t.csv").read_text("utf-8").splitlines()
    swept(folder, lines)
    apply(accept(folder, places), folder / "stores.toml", folder / "out", by="x")
    assert (folder / "t.csv").read_text("utf-8").splitlines() == [
        line for row, line in enumerate(before, start=-1) if str(row) not in places
    ]


def test_photos_are_found_by_face_and_by_looks(folder: Path) -> None:
    tree = folder / "photos" / "deep"
    tree.mkdir(parents=True)
    for photo in range(4):
        picture(0, 30 + photo).save(tree / f"mine{photo}.png")
    for person in range(1, 15):
        picture(person, 0).save(tree / f"other{person}.png")
    Image.open(folder / "examples" / "0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tree / "mirrored.png")
    (tree / "link.png").symlink_to(folder / "examples" / "1.png")
    (tree / "broken.png").write_bytes(b"no photo")
    held = (tree / "mine0.png").read_bytes()
    (tree / "thumbnails.db").write_bytes(b"\0" * 999 + held + b"\0" * 99)
    table = swept(folder, 'kind = "photos"\npath = "photos"')
    mine = [f"deep/mine{photo}.png" for photo in range(4)]
    assert sorted(table["place"]) == sorted([*mine, "deep/mirrored.png"])
    (done,) = apply(accept(folder, mine), folder / "stores.toml", folder / "out", by="x")
    assert (done.deleted, done.surviving) == (4, 1)
    assert done.where == [str(tree / "thumbnails.db")], "a copy within another file"
    assert sorted(one.name for one in tree.glob("mi*")) == ["mirrored.png"]
    assert (folder / "examples" / "1.png").exists()
    entries = tomllib.loads((folder / "out" / "deletions.toml").read_text("utf-8"))["deletions"]
    assert [Deletion.model_validate(one).state for one in entries] == ["deleted", "kept", "expires"]


def test_nothing_is_deleted_without_an_accepted_list(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    lines, _ = npy(folder, *gallery)
    swept(folder, lines)
    held = (folder / "gallery.npy").read_bytes()
    complaint = refusal(lambda: apply(folder / "out" / "found.csv", folder / "stores.toml", folder / "out", by="x"))
    assert "accepts nothing" in complaint
    assert (folder / "gallery.npy").read_bytes() == held


def test_a_store_that_changed_meanwhile_is_left_alone(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    vectors, mine = gallery
    lines, places = npy(folder, vectors, mine)
    swept(folder, lines)
    (folder / "names.txt").write_text("".join(f"name {row}\n" for row in range(1, len(vectors))), "utf-8")
    np.save(folder / "gallery.npy", vectors[1:])
    held = (folder / "gallery.npy").read_bytes()
    listed = accept(folder, places)
    assert "search again" in refusal(lambda: apply(listed, folder / "stores.toml", folder / "out", by="x"))
    assert (folder / "gallery.npy").read_bytes() == held


def test_a_list_somebody_filled_in_is_not_written_over(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    lines, places = npy(folder, *gallery)
    swept(folder, lines)
    accept(folder, places)
    assert "written into" in refusal(lambda: swept(folder, lines))


def test_what_is_written_is_its_owners_alone(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    lines, places = npy(folder, *gallery)
    swept(folder, lines)
    os.chmod(accept(folder, places), 0o600)
    apply(folder / "out" / "found.csv", folder / "stores.toml", folder / "out", by="x")
    assert {stat.S_IMODE(one.stat().st_mode) for one in (folder / "out").iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "drawer"\npath = "x"', "drawer"),
        ('kind = "array"\npath = "x.npy"', "is no file"),
        ('kind = "array"\npath = "net.pt"', "cannot be read as arrays"),
        ('kind = "sqlite"\npath = "net.pt"\ntable = "faces"', "net.pt"),
        ('kind = "sqlite"\npath = "net.pt"\ntable = "faces; DROP TABLE x"', "table"),
        ('kind = "postgres"\ndsn_variable = "NOT_SET_AT_ALL"\ntable = "faces"', "is not set"),
        ('kind = "photos"\npath = "/nowhere"', "is no folder"),
        ('kind = "array"\npath = "link.npy"', "no link"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(folder: Path, lines: str, said: str) -> None:
    (folder / "link.npy").symlink_to(folder / "net.pt")
    assert said in refusal(lambda: swept(folder, lines))
    assert not (folder / "out" / "found.csv").exists()


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("at", [0, 13, CHUNK - 40, CHUNK - SLICE + 1, CHUNK + 5])
def test_a_slice_is_found_wherever_it_begins(tmp_path: Path, kind: Any, at: int) -> None:
    vector = np.random.default_rng(2).normal(0, 1, 128)
    stored = (vector / np.linalg.norm(vector)).astype(kind).tobytes()
    path = tmp_path / "bytes"
    with path.open("wb") as file:
        file.truncate(CHUNK + 4096)
        file.seek(at)
        file.write(stored)
    needles = of_vector(vector)
    found = surviving(needles, [path])
    assert found
    assert all(one in stored for one in found)
    other = np.random.default_rng(3).normal(0, 1, 128)
    assert surviving(of_vector(other), [path]) == {}


def test_what_is_all_alike_is_no_needle() -> None:
    assert slices(bytes(400)) == []
    assert slices(b"short") == []


def server(home: Path) -> Iterator[Path]:
    """A Postgres of its own, reached through a socket in its folder."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no Postgres: apt-get install postgresql")
    home.mkdir()
    owner: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
        for one in home.parents[:3]:
            one.chmod(one.stat().st_mode | 0o055)
        owner = ["runuser", "-u", "postgres", "--"]
    data, options = home / "data", f"-k {home} -c listen_addresses=''"

    def run(program: str, *words: str, check: bool = True) -> None:
        command = [*owner, str(programs[-1] / program), "-D", str(data), *words]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL)

    run("initdb", "-A", "trust", "-U", "me")
    run("pg_ctl", "-w", "-o", options, "-l", str(home / "log"), "start")
    yield home
    run("pg_ctl", "-m", "immediate", "stop", check=False)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Path]:
    pytest.importorskip("psycopg")
    yield from server(tmp_path / "pg")


@pytest.mark.slow
@pytest.mark.parametrize("column", ["real[]", "bytea"])
def test_a_table_of_postgres(
    folder: Path,
    gallery: tuple[Vectors, list[int]],
    postgres: Path,
    column: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psycopg

    vectors, mine = gallery
    monkeypatch.setenv("FACES_DSN", f"host={postgres} user=me dbname=postgres")
    with psycopg.connect(os.environ["FACES_DSN"]) as connection:
        connection.execute(f"CREATE TABLE faces (id serial PRIMARY KEY, embedding {column})")
        for one in vectors:
            held: Any = one.tobytes() if column == "bytea" else one.tolist()
            connection.execute("INSERT INTO faces (embedding) VALUES (%s)", (held,))
    lines = f'kind = "postgres"\ndsn_variable = "FACES_DSN"\ntable = "faces"\ndata = "{postgres / "data"}"'
    places = [str(row + 1) for row in mine]
    assert sorted(swept(folder, lines)["place"]) == sorted(places)
    (done,) = apply(accept(folder, places), folder / "stores.toml", folder / "out", by="x")
    assert (done.deleted, done.accepted) == (COPIES, COPIES)
    assert done.surviving == COPIES, "the write-ahead log keeps them"
    assert all("pg_wal" in one for one in done.where), "and the table does not"


def test_the_command_finds_and_deletes(folder: Path, gallery: tuple[Vectors, list[int]]) -> None:
    lines, places = npy(folder, *gallery)
    (folder / "stores.toml").write_text(f'[[store]]\nname = "gallery"\n{lines}\n', "utf-8")
    common = ["--stores", str(folder / "stores.toml"), "--out", str(folder / "out")]
    more = ["--model", str(folder / "net.pt"), "--arch", f"{__name__}:build", "--contract", str(contract_of(folder))]
    told = CliRunner().invoke(app, ["sweep", str(folder / "examples"), *common, *more])
    assert told.exit_code == 0, told.output
    assert f"{COPIES} copies found, nothing deleted" in told.stdout
    told = CliRunner().invoke(app, ["sweep", *common, "--apply", str(accept(folder, places)), "--by", "me"])
    assert told.exit_code == 0, told.output
    assert f"gallery: {COPIES} of {COPIES} deleted, 0 still in its files ({COPIES} were to be seen" in told.stdout
