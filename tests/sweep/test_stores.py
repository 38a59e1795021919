"""Each kind of store with planted copies of known number: found, deleted, and what its files keep."""

import json
import os
import shutil
import sqlite3
import stat
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import postgres_server
import pytest
import torch
from planted import SIDE, Net, Office, among, picture, vectors_of

from conftest import refusal
from efface.models.iresnet import IResNet
from efface.preparation.packed import open_packed, write_packed

MINE = vectors_of(0, range(10, 17))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def all_gone(office: Office, count: int = len(MINE)) -> None:
    """Of the one store everything planted was found, deleted, and nothing of it is in its files."""
    (done,) = office.swept().values()
    assert (done.accepted, done.deleted, done.surviving, done.failed) == (count, count, 0, "")


@pytest.mark.parametrize("kind", ["npz", "json", "columns", "parquet", "parquet columns"])
def test_files_of_rows(office: Office, kind: str) -> None:
    vectors, rows = among(MINE, 300)
    people = np.array([f"p{row}" for row in range(len(vectors))])
    if kind == "npz":
        path = office.folder / "gallery.npz"
        np.savez(path, embeddings=vectors.astype(np.float16), people=people, version=np.array(3))
        office.stores({"name": "index", "kind": "arrays", "path": path.name, "array": "embeddings"})
    else:
        table = pd.DataFrame({"person": people})
        columns = [f"v{place}" for place in range(vectors.shape[1])] if "columns" in kind else ["vector"]
        path = office.folder / ("gallery.parquet" if "parquet" in kind else "gallery.csv")
        if "columns" in kind:
            table = pd.concat([table, pd.DataFrame(vectors, columns=columns)], axis=1)
        else:
            lists = vectors.tolist()
            table["vector"] = lists if "parquet" in kind else [json.dumps(one) for one in lists]
        if "parquet" in kind:
            pytest.importorskip("pyarrow")
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False)
        office.stores({"name": "index", "kind": "table", "path": path.name, "columns": columns})
    before = path.read_bytes()
    all_gone(office)
    kept = np.delete(people, rows)
    if kind == "npz":
        with np.load(path) as saved:
            assert saved["people"].tolist() == kept.tolist()
            assert saved["version"] == 3
    elif "parquet" in kind:
        assert pd.read_parquet(path)["person"].tolist() == kept.tolist()
    else:
        lines = before.decode().splitlines()
        assert path.read_text().splitlines() == [lines[0], *np.delete(np.array(lines[1:], object), rows)]


@pytest.mark.parametrize("kind", ["float32", "float16", "json"])
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(office: Office, kind: str, journal: str) -> None:
    vectors, _ = among(3 * MINE, 300)
    path = office.folder / "faces.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute(f"PRAGMA journal_mode={journal}")
        base.execute('CREATE TABLE "the faces" (person TEXT, "vec""tor" BLOB)')
        cells = [json.dumps(one.tolist()) if kind == "json" else one.astype(kind).tobytes() for one in vectors]
        base.executemany('INSERT INTO "the faces" VALUES (?, ?)', [(str(n), one) for n, one in enumerate(cells)])
        base.commit()
    numbers = {} if kind == "json" else {"numbers": kind}
    office.stores(
        {"name": "db", "kind": "sqlite", "path": "faces.db", "table": "the faces", "column": 'vec"tor', **numbers}
    )
    (done,) = office.swept().values()
    assert (done.accepted, done.deleted, done.surviving) == (7, 7, 0)
    assert kind == "json" or done.readable == 7
    with closing(sqlite3.connect(path)) as base:
        assert base.execute('SELECT count(*) FROM "the faces"').fetchone() == (300,)


def test_sqlite_that_changes_between_search_and_deletion(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    from efface.sweep.sqlite_table import SqliteTable

    path = office.folder / "faces.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE faces (vector BLOB)")
        base.executemany("INSERT INTO faces VALUES (?)", [(one.tobytes(),) for one in among(MINE, 300)[0]])
        base.commit()
    office.stores({"name": "db", "kind": "sqlite", "path": "faces.db", "table": "faces", "column": "vector"})
    office.sweep()
    accepted = office.accept()
    whole = SqliteTable.delete

    def later(store: SqliteTable, copies: list[Any]) -> None:
        with closing(sqlite3.connect(path)) as base:
            base.execute("UPDATE faces SET vector = ? WHERE rowid = ?", (MINE[0].tobytes(), copies[3].location[6:]))
            base.commit()
        whole(store, copies)

    monkeypatch.setattr(SqliteTable, "delete", later)
    (done,) = office.sweep(apply=accepted, by="me").values()
    assert "is not what was found there" in done.failed
    assert not done.clean
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT count(*) FROM faces").fetchone() == (307,)


@pytest.mark.slow
@pytest.mark.skipif(bool(postgres_server.missing()), reason=postgres_server.missing())
def test_postgres(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    vectors, _ = among(MINE, 300)
    with postgres_server.server() as (url, data):
        with psycopg.connect(url, autocommit=True) as base:
            base.execute("CREATE EXTENSION vector")
            base.execute("CREATE SCHEMA app")
            base.execute("CREATE TABLE app.faces (id bigserial PRIMARY KEY, v vector(192), h halfvec(192), a real[])")
            base.execute("CREATE INDEX ON app.faces USING hnsw (v vector_cosine_ops)")
            with base.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO app.faces (v, h, a) VALUES (%s::vector, %s::vector::halfvec, %s)",
                    [(str(one.tolist()), str(one.tolist()), one.tolist()) for one in vectors],
                )
            base.execute("ANALYZE app.faces")  # keeps samples of the vectors
        monkeypatch.setenv("SECRET", "x")
        common = {"kind": "postgres", "url": url, "password_env": "SECRET", "table": "app.faces", "key": "id"}
        for column in ("h", "a"):
            office.stores({"name": column, "column": column, **common})
            assert office.sweep()[column].found >= 7
            (office.folder / "out" / "found.csv").unlink()
        office.stores({"name": "db", "column": "v", "server_files": [str(data)], **common})
        (done,) = office.swept().values()
        assert (done.accepted, done.deleted, done.readable) == (7, 7, 7)
        assert done.surviving == 7
        assert all(file.startswith("pg_wal/") for file in done.where), "only in its log"
        with psycopg.connect(url) as base:
            assert base.execute("SELECT count(*) FROM app.faces").fetchone() == (300,)
        office.stores({"name": "db", "column": "nothing", **common})
        assert "Postgres answers" in refusal(office.sweep)
        monkeypatch.delenv("SECRET")
        assert "SECRET is not set" in refusal(office.sweep)


@pytest.mark.parametrize("kind", ["Flat", "IDMap,Flat", "IDMap2,SQfp16", "IVF4,Flat", "HNSW16"])
def test_faiss(office: Office, kind: str) -> None:
    faiss = pytest.importorskip("faiss")
    vectors, rows = among(MINE, 300)
    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    keys = 1000 + np.arange(len(vectors))
    index.add_with_ids(vectors, keys) if kind.startswith("I") else index.add(vectors)
    path = office.folder / "faces.faiss"
    faiss.write_index(index, str(path))
    office.stores({"name": "index", "kind": "faiss", "path": path.name})
    before = path.read_bytes()
    if kind == "HNSW16":
        (done,) = office.swept().values()
        assert "cannot remove anything: build it anew" in done.failed
        assert (done.accepted, done.deleted, done.surviving) == (7, 0, 7)
        assert path.read_bytes() == before
        return
    all_gone(office)
    after = faiss.read_index(str(path))
    assert after.ntotal == 300
    if kind == "IDMap,Flat":
        assert faiss.vector_to_array(after.id_map).tolist() == np.delete(keys, rows).tolist()


@pytest.mark.parametrize("names", [None, "face"])
def test_qdrant(office: Office, names: str | None) -> None:
    client_of = pytest.importorskip("qdrant_client")
    models = client_of.models
    vectors, rows = among(MINE, 300)
    with closing(client_of.QdrantClient(path=str(office.folder / "qdrant"))) as client:
        size = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
        client.create_collection("faces", vectors_config=size if names is None else {names: size})
        client.upsert(
            "faces",
            [
                models.PointStruct(id=row, vector=one.tolist() if names is None else {names: one.tolist()})
                for row, one in enumerate(vectors)
            ],
        )
    named = {} if names is None else {"vector": names}
    office.stores({"name": "index", "kind": "qdrant", "path": "qdrant", "collection": "faces", **named})
    (done,) = office.swept().values()
    assert (done.accepted, done.deleted, done.readable, done.surviving) == (7, 7, 7, 0)
    assert done.kept in (0, 7), "what SQLite keeps until it is compacted hangs on how it was built"
    with closing(client_of.QdrantClient(path=str(office.folder / "qdrant"))) as client:
        assert client.count("faces").count == 300
        assert not client.retrieve("faces", rows.tolist())
    office.stores({"name": "index", "kind": "qdrant", "path": "qdrant", "collection": "none"})
    (office.folder / "out" / "found.csv").unlink()
    assert "has no collection 'none'" in refusal(office.sweep)


@pytest.mark.parametrize("rebuild", [False, True])
def test_chroma(office: Office, rebuild: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chromadb = pytest.importorskip("chromadb")
    vectors, _ = among(MINE, 1300)
    client = chromadb.PersistentClient(path=str(office.folder / "chroma"))
    with closing(client):
        faces = client.create_collection("faces", embedding_function=None, metadata={"hnsw:space": "cosine"})
        for start in range(0, len(vectors), 500):
            block = vectors[start : start + 500]
            faces.add(
                ids=[f"p {start + row}" for row in range(len(block))],
                embeddings=block,
                metadatas=[{"row": start + row} for row in range(len(block))],
            )
    office.stores(
        {"name": "index", "kind": "chroma", "path": "chroma", "collection": "faces"}
        | ({"rebuild": True} if rebuild else {})
    )
    (done,) = office.swept().values()
    assert (done.accepted, done.deleted, done.failed) == (7, 7, "")
    assert done.kept > 0, "deleted vectors stay in the index"
    assert (done.surviving > 0) == (not rebuild), done.where
    with closing(chromadb.PersistentClient(path=str(office.folder / "chroma"))) as client:
        faces = client.get_collection("faces", embedding_function=None)
        assert faces.count() == 1300
        assert faces.metadata == {"hnsw:space": "cosine"}


def test_packed_faces(office: Office) -> None:
    shown = [(0, photo) for photo in range(10, 15)] + [(person, photo) for person in range(1, 21) for photo in range(3)]
    faces = np.stack([np.asarray(picture(*one, 16)).transpose(2, 0, 1) for one in shown])
    table = pd.DataFrame({"key": [f"k{n}" for n in range(len(shown))], "person": [f"p{one[0]}" for one in shown]})
    folder = office.folder / "faces"
    write_packed(folder, [faces], table, shape=(3, 16, 16), about={"name": "ours", "licence": "none"})
    (folder / "images.npy").chmod(0o600)
    office.stores({"name": "crops", "kind": "packed", "path": "faces"})
    all_gone(office, 5)
    after = open_packed(folder)
    assert np.array_equal(after.images, faces[5:])
    assert after.table["key"].tolist() == table["key"].tolist()[5:]
    assert json.loads((folder / "manifest.json").read_text())["licence"] == "none"
    assert stat.S_IMODE((folder / "images.npy").stat().st_mode) == 0o600
    assert sorted(one.name for one in office.folder.iterdir() if "faces" in one.name) == ["faces"]


def test_rows_of_a_head(office: Office) -> None:
    torch.manual_seed(0)
    network = IResNet((3, 32, 32), depth=10, width=4, dimensions=192)
    vectors, rows = among(vectors_of(0, range(10, 12)), 60)
    bias = torch.arange(1.0, 63.0)
    path = office.folder / "model.pt"
    torch.save({"net": network.state_dict(), "head": {"weight": torch.tensor(vectors), "bias": bias}}, path)
    path.chmod(0o644)
    office.stores({"name": "deployed", "kind": "head", "path": "model.pt", "head": "head.weight"})
    before = torch.load(path)
    all_gone(office, 2)
    after = torch.load(path)
    assert not after["head"]["weight"][rows].any()
    assert not after["head"]["bias"][rows].any()
    others = np.delete(np.arange(62), rows)
    assert torch.equal(after["head"]["weight"][others], before["head"]["weight"][others])
    assert all(torch.equal(after["net"][name], one) for name, one in before["net"].items())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_runs_leave_behind(office: Office) -> None:
    evidence, answers = office.folder / "runs" / "a" / "evidence", office.folder / "runs" / "a" / "predictions"
    evidence.mkdir(parents=True)
    answers.mkdir()
    faces = np.stack([np.asarray(picture(person, 3, 16)).transpose(2, 0, 1) for person in range(30)])
    np.savez_compressed(evidence / "run.npz", images=faces, error=np.zeros((2, 30)))
    np.savez(answers / "original.npz", outputs=among(MINE, 300)[0])
    np.savez(answers / "others.npz", outputs=among(MINE[:0], 300, 5)[0])
    (answers / "broken.npz").write_bytes(b"PK no")
    office.stores({"name": "runs", "kind": "runs", "path": "runs"})
    (done,) = office.swept().values()
    assert (done.accepted, done.deleted, done.surviving) == (2, 2, 0)
    assert list(done.unread) == ["a/predictions/broken.npz"]
    assert sorted(file.name for file in (office.folder / "runs").rglob("*.npz")) == ["broken.npz", "others.npz"]


STORES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "arrays": lambda path: {"path": f"{path}.npy"},
    "table": lambda path: {"path": f"{path}.csv", "columns": ["v"]},
    "sqlite": lambda path: {"path": str(path), "table": "t", "column": "v"},
    "faiss": lambda path: {"path": str(path)},
    "head": lambda path: {"path": str(path), "head": "head.weight"},
}


@pytest.mark.parametrize("kind", STORES)
def test_broken_files_are_one_line(office: Office, kind: str) -> None:
    for number, content in enumerate((b"", b"\x93NUMPY\x01\x00", os.urandom(2000), b"v\n[1,2\n")):
        settings = STORES[kind](office.folder / f"broken{number}")
        Path(settings["path"]).write_bytes(content)
        office.stores({"name": "broken", "kind": kind, **settings})
        assert "\n" not in refusal(office.sweep)
    shutil.rmtree(office.folder / "out")


def test_net_answers_as_the_planted_vectors() -> None:
    photo = np.asarray(picture(0, 3, SIDE)).transpose(2, 0, 1).astype(np.float32)
    answer = Net()(torch.tensor(photo[None] / 127.5 - 1)).detach().numpy()[0]
    assert np.allclose(answer / np.linalg.norm(answer), vectors_of(0, [3])[0], atol=1e-6)
