"""Does a sweep find 100 planted copies of a person in 12 places, and what do the stores keep of what they deleted?

python benchmarks/sweep_stores.py      (a few minutes; needs efface[sweep], Postgres with pgvector, and writes
results/sweep.json)

50,000 vectors lie in ten places, photos and packed faces in two more. The person has other photos there than the
examples. Whoever accepts here knows which copies were planted: what is proposed beside them is counted, and refused.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "sweep"))

import postgres_server  # noqa: E402
from planted import Office, among, picture, vectors_of  # noqa: E402
from reporting import COMMIT  # noqa: E402

from efface.data.faces import Array  # noqa: E402
from efface.models.iresnet import IResNet  # noqa: E402
from efface.preparation.packed import write_packed  # noqa: E402
from efface.sweep.raw import files_of, present, vector_forms  # noqa: E402
from efface.sweep.sweep import Swept  # noqa: E402

COPIES = {
    "npy": (10, 10_000),
    "csv": (8, 2_000),
    "parquet": (8, 5_000),
    "sqlite": (8, 5_000),
    "postgres": (10, 8_000),
    "faiss": (10, 10_000),
    "qdrant": (10, 3_000),
    "chroma": (10, 5_000),
    "head": (4, 1_000),
    "runs": (4, 1_000),
}
"""Of each place that holds vectors: planted copies and vectors of others (of runs: files, and vectors in all)."""
PHOTOS, FACES = (10, 200), (8, 300)
COLUMNS = (
    "place",
    "kind",
    "entries",
    "planted",
    "found",
    "others proposed",
    "deleted",
    "copies in raw bytes, before",
    "after its own deletion",
    "after compaction",
    "survive in",
)
Planted = tuple[dict[str, Any], set[str], int]
"""A store's table of stores.toml, the locations of what was planted, and entries in all."""


def main() -> None:
    """Plant, sweep, and save the tables."""
    warnings.simplefilter("ignore")
    if reason := postgres_server.missing():
        sys.exit(f"this benchmark needs Postgres with pgvector: {reason}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place, postgres_server.server() as (url, data):
        office = Office(Path(place))
        planted = [
            photos(office.folder),
            packed(office.folder),
            *(PLANT[kind](office.folder, *vectors(kind)) for kind in ("npy", "csv", "parquet", "sqlite")),
            postgres(url, data, *vectors("postgres")),
            *(PLANT[kind](office.folder, *vectors(kind)) for kind in ("faiss", "qdrant", "chroma", "head")),
            runs(office.folder),
        ]
        rows = swept(office, planted)
    with tempfile.TemporaryDirectory() as place:
        office = Office(Path(place))
        settings, locations, entries = chroma(office.folder, *vectors("chroma"))
        rebuilt = swept(office, [({**settings, "rebuild": True}, locations, entries)])
    with tempfile.TemporaryDirectory() as place, postgres_server.server() as (url, data):
        office = Office(Path(place))
        found, of_person = vectors("postgres")
        rebuilt += swept(office, [postgres(url, data, found, of_person)])
        rebuilt[-1][-2:] = log_removed(url, data, found[of_person])
        server = versions(url)
    save(rows, rebuilt, server, time.monotonic() - started)


def swept(office: Office, planted: list[Planted]) -> list[list[str]]:
    """Search, accept what was planted, delete; a row for each place."""
    office.stores(*(settings for settings, _, _ in planted))
    office.sweep(say=print)
    truth = {settings["name"]: locations for settings, locations, _ in planted}
    table = office.table
    right = pd.Series([one.location in truth[one.store] for one in table.itertuples()])
    done = office.sweep(apply=office.accept(right), by="benchmark", say=print)
    return [
        row(done[settings["name"]], settings["kind"], entries, locations) for settings, locations, entries in planted
    ]


def row(one: Swept, kind: str, entries: int, locations: set[str]) -> list[str]:
    """A place as a row of the table."""
    kept = ", ".join(sorted({"pg_wal" if file.startswith("pg_wal/") else Path(file).name for file in one.where}))
    failed = f" ({one.failed})" if one.failed else ""
    numbers = (entries, len(locations), one.accepted, one.found - one.accepted, one.deleted)
    bytes_of = (one.readable, one.kept, one.surviving)
    return [one.store, kind, *(f"{number:,}" for number in (*numbers, *bytes_of)), kept + failed]


def vectors(kind: str) -> tuple[Array, Array]:
    """Vectors of a place, and the rows of the person's."""
    mine, others = COPIES[kind]
    seed = list(COPIES).index(kind)
    return among(vectors_of(0, range(100 * seed + 100, 100 * seed + 100 + mine)), others, seed)


def photos(folder: Path) -> Planted:
    """Copies of an example as they come about, and other photos of the person."""
    tree = folder / "photos"
    (tree / "thumbs").mkdir(parents=True)
    example = Image.open(folder / "examples" / "0.png")
    example.save(tree / "copy.png")
    example.save(tree / "sent.jpg", quality=80)
    example.resize((32, 32)).save(tree / "thumbs" / "small.webp", quality=90)
    example.save(tree / ".hidden", "PNG")
    example.save(tree / "upload_tmp", "JPEG", quality=95)
    for photo in range(5):
        picture(0, 50 + photo).save(tree / f"other{photo}.png")
    mine = {file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file()}
    for number in range(PHOTOS[1]):
        picture(1 + number // 4, number % 4).save(tree / f"{number}.jpg")
    return {"name": "uploads", "kind": "photos", "path": "photos"}, mine, sum(PHOTOS)


def packed(folder: Path) -> Planted:
    """Packed faces."""
    shown = [(1 + number // 4, number % 4) for number in range(FACES[1])]
    shown[100:100] = [(0, 70 + number) for number in range(FACES[0])]
    faces = np.stack([np.asarray(picture(*one, 16)).transpose(2, 0, 1) for one in shown])
    table = pd.DataFrame({"key": [str(n) for n in range(len(shown))], "person": [str(one[0]) for one in shown]})
    write_packed(folder / "faces", [faces], table, shape=(3, 16, 16), about={"name": "faces"})
    return {"name": "crops", "kind": "packed", "path": "faces"}, {f"row {100 + n}" for n in range(FACES[0])}, len(shown)


def npy(folder: Path, found: Array, rows: Array) -> Planted:
    """A gallery."""
    np.save(folder / "gallery.npy", found)
    settings = {"name": "gallery", "kind": "arrays", "path": "gallery.npy"}
    return settings, {f"row {one}" for one in rows}, len(found)


def csv(folder: Path, found: Array, rows: Array) -> Planted:
    """An export."""
    pd.DataFrame({"vector": [json.dumps(one.tolist()) for one in found]}).to_csv(folder / "export.csv", index=False)
    settings = {"name": "export", "kind": "table", "path": "export.csv", "columns": ["vector"]}
    return settings, {f"row {one}" for one in rows}, len(found)


def parquet(folder: Path, found: Array, rows: Array) -> Planted:
    """A table of a data lake."""
    pd.DataFrame({"vector": list(found)}).to_parquet(folder / "lake.parquet")
    settings = {"name": "data lake", "kind": "table", "path": "lake.parquet", "columns": ["vector"]}
    return settings, {f"row {one}" for one in rows}, len(found)


def sqlite(folder: Path, found: Array, rows: Array) -> Planted:
    """A database with a write-ahead log."""
    with closing(sqlite3.connect(folder / "app.db")) as base:
        base.execute("PRAGMA journal_mode=wal")
        base.execute("CREATE TABLE faces (vector BLOB)")
        base.executemany("INSERT INTO faces VALUES (?)", [(one.tobytes(),) for one in found])
        base.commit()
    settings = {"name": "app database", "kind": "sqlite", "path": "app.db", "table": "faces", "column": "vector"}
    return settings, {f"rowid {one + 1}" for one in rows}, len(found)


def postgres(url: str, data: Path, found: Array, rows: Array) -> Planted:
    """A table with an index of pgvector's."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as base, base.cursor() as cursor:
        base.execute("CREATE EXTENSION vector")
        base.execute(f"CREATE TABLE faces (id bigint PRIMARY KEY, v vector({found.shape[1]}))")
        cursor.executemany(
            "INSERT INTO faces VALUES (%s, %s::vector)", [(n, str(one.tolist())) for n, one in enumerate(found)]
        )
        base.execute("CREATE INDEX ON faces USING hnsw (v vector_cosine_ops)")
        base.execute("CHECKPOINT")
    settings = {"name": "search server", "kind": "postgres", "url": url, "table": "faces", "key": "id", "column": "v"}
    return {**settings, "server_files": [str(data)]}, {f"id {one}" for one in rows}, len(found)


def versions(url: str) -> str:
    """Of the server and of pgvector."""
    import psycopg

    with psycopg.connect(url) as base:
        row = base.execute(
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
    assert row is not None
    return f"Postgres {row[0].split()[0]} with pgvector {row[1]}"


def log_removed(url: str, data: Path, mine: Array) -> list[str]:
    """How many vectors have bytes in the server's files once its log was switched and no segment is kept for later use,
    and in which."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as base:
        base.execute("ALTER SYSTEM SET wal_recycle = off")
        base.execute("ALTER SYSTEM SET min_wal_size = '32MB'")
        base.execute("SELECT pg_reload_conf()")
        for _ in range(2):
            base.execute("CREATE TABLE IF NOT EXISTS nothing ()")
            base.execute("DROP TABLE nothing")
            base.execute("SELECT pg_switch_wal()")
            base.execute("CHECKPOINT")
    left, _ = present(files_of(data), [vector_forms(one) for one in mine])
    numbers = {number for forms in left.values() for several in forms.values() for number in several}
    return [str(len(numbers)), ", ".join(sorted(file.relative_to(data).as_posix() for file in left))]


def faiss(folder: Path, found: Array, rows: Array) -> Planted:
    """An index by ids."""
    import faiss

    index = faiss.IndexIDMap(faiss.IndexFlatIP(found.shape[1]))
    index.add_with_ids(found, np.arange(len(found)))
    faiss.write_index(index, str(folder / "faces.faiss"))
    return {"name": "index", "kind": "faiss", "path": "faces.faiss"}, {f"id {one}" for one in rows}, len(found)


def qdrant(folder: Path, found: Array, rows: Array) -> Planted:
    """A collection."""
    from qdrant_client import QdrantClient, models

    with closing(QdrantClient(path=str(folder / "qdrant"))) as client:
        size = models.VectorParams(size=found.shape[1], distance=models.Distance.COSINE)
        client.create_collection("faces", vectors_config=size)
        points = [models.PointStruct(id=n, vector=one.tolist()) for n, one in enumerate(found)]
        for start in range(0, len(points), 500):
            client.upsert("faces", points[start : start + 500])
    settings = {"name": "prototype search", "kind": "qdrant", "path": "qdrant", "collection": "faces"}
    return settings, {f"point {one}" for one in rows}, len(found)


def chroma(folder: Path, found: Array, rows: Array) -> Planted:
    """A collection."""
    import chromadb

    opened: Any = chromadb.PersistentClient(path=str(folder / "chroma"))
    with closing(opened) as client:
        faces = client.create_collection("faces", embedding_function=None, metadata={"hnsw:space": "cosine"})
        for start in range(0, len(found), 500):
            block = found[start : start + 500]
            faces.add(ids=[str(start + n) for n in range(len(block))], embeddings=block)
    settings = {"name": "assistant", "kind": "chroma", "path": "chroma", "collection": "faces"}
    return settings, {f"id {one}" for one in rows}, len(found)


def head(folder: Path, found: Array, rows: Array) -> Planted:
    """A checkpoint with a row for each person, and an optimiser's state of it."""
    network = IResNet((3, 32, 32), depth=18, width=4, dimensions=found.shape[1])
    weights = torch.tensor(found)
    optimiser = {"state": {0: {"exp_avg": 0.01 * weights}}, "param_groups": [{"params": [0]}]}
    state = {"net": network.state_dict(), "head": {"weight": weights}, "optimizer": optimiser}
    torch.save(state, folder / "model.pt")
    settings = {"name": "deployed model", "kind": "head", "path": "model.pt", "head": "head.weight"}
    return settings, {f"row {one}" for one in rows}, len(found)


def runs(folder: Path) -> Planted:
    """Answers of models to photos of the person among others, and of others alone."""
    files, others = COPIES["runs"]
    place = folder / "runs" / "predictions"
    place.mkdir(parents=True)
    each = others // (2 * files)
    for number in range(2 * files):
        mine = vectors_of(0, [2000 + number]) if number < files else np.zeros((0, 192))
        np.savez(place / f"{number}.npz", outputs=among(mine.astype(np.float32), each, 50 + number)[0])
    mine_files = {f"predictions/{number}.npz" for number in range(files)}
    return {"name": "our own runs", "kind": "runs", "path": "runs"}, mine_files, others + files


PLANT: dict[str, Callable[[Path, Array, Array], Planted]] = {
    "npy": npy,
    "csv": csv,
    "parquet": parquet,
    "sqlite": sqlite,
    "faiss": faiss,
    "qdrant": qdrant,
    "chroma": chroma,
    "head": head,
}


def save(rows: list[list[str]], rebuilt: list[list[str]], server: str, seconds: float) -> None:
    """Write results/sweep.json."""
    import chromadb
    import faiss

    with closing(sqlite3.connect(":memory:")) as base:
        secure = base.execute("PRAGMA secure_delete").fetchone()[0]
    from importlib.metadata import version

    command = ["python benchmarks/sweep_stores.py", "python docs/print_results.py"]
    results = {
        "title": "What stores keep",
        "commit": COMMIT,
        "note": f"Saved by the command beside the table, in {seconds:.0f} s.",
        "machine": f"{platform.system()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{server}, faiss {faiss.__version__}, qdrant-client {version('qdrant-client')}, "
        f"chromadb {chromadb.__version__}",
        "known": "Limits of these numbers:",
        "limits": [
            "Vectors of the others are drawn at random on the sphere, 192 numbers long, and the model's embeddings are "
            "pixels, by which the person's drawn photos are far from everybody's: how many are found says that every "
            "store is read whole, not how well a recogniser tells people apart.",
            "“Found” counts planted copies among what was proposed; whoever accepts here knows them. Of the files of "
            "runs a copy is a file.",
            "Raw bytes are those of files that still have a name. What a disk keeps of a file that was removed or "
            "written again (free blocks, flash translation, snapshots of the file system) is not looked at; backups "
            "neither.",
            f"This SQLite was built with secure_delete {'on' if secure else 'off'} by default, and overwrites what it "
            "deletes; elsewhere that is off, and deleted rows stay until VACUUM. Qdrant's local mode lies on it too."
            if secure
            else "This SQLite was built with secure_delete off, which is its own default.",
            "Counts before are lower than planted where a file is compressed: there the bytes say nothing afterwards "
            "either, and what was deleted is known by searching again alone.",
        ],
        "tables": [
            {
                "name": "stores",
                "caption": "100 planted copies of one person in 12 places among 50,000 vectors",
                "command": command,
                "columns": list(COLUMNS),
                "rows": rows,
            },
            {
                "name": "rebuilt",
                "caption": "The two that keep them, once more: Chroma with `rebuild = true`; Postgres, its log "
                "switched twice with `wal_recycle = off`",
                "command": command,
                "columns": list(COLUMNS),
                "rows": rebuilt,
            },
        ],
    }
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (ROOT / "results" / "sweep.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
