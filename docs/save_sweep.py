"""Plants 100 copies of one person in 12 stores among 50,000 faces, sweeps them, and saves what came of it as
results/sweep.json.

python docs/save_sweep.py runs/sweep      (some minutes; needs efface[stores] and a Postgres that initdb can start)

Stores are filled, as the tests fill theirs, with vectors of 192 numbers; photos are of generated people.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from efface.sweep.sweep import Swept, apply, find_copies
from efface.training.environment import environment

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "sweep")]
import test_sweep as planted  # noqa: E402

COPIES, FACES = 100, 50_000
STORES = {
    "photos": "photos below a folder, one copy within another file",
    "npy": "NumPy array with a list of names",
    "npz": "NumPy archive",
    "csv_lists": "CSV, vectors in one column",
    "csv_columns": "CSV, a column for each number",
    "parquet": "Parquet",
    "sqlite": "SQLite in WAL mode",
    "postgres": "Postgres, real[]",
    "faiss_flat": "FAISS, flat",
    "faiss_ids": "FAISS, with ids",
    "qdrant": "Qdrant, local mode",
    "chroma": "Chroma, local mode",
}
LIMITS = [
    "One run with planted copies: it shows that each kind of store is read, emptied and looked at, not how well a "
    "recogniser tells people apart. The threshold of 0.5 tells all planted vectors from all others.",
    "“Seen” counts copies of which a slice stands in the bytes of the store's files, before, and right after the "
    "store's own deletion and compaction. Where fewer were seen before than were planted the store holds them in a "
    "form that is not looked for, and 0 after says nothing of those. Freed blocks of the disk were not read.",
]


def filled(folder: Path) -> tuple[list[str], int]:
    """The lines of every store with its share of faces and copies, and how many faces there are."""
    rng = np.random.default_rng(11)
    shares = np.diff(np.linspace(0, COPIES, len(STORES) + 1).round().astype(int))
    lines, faces, seen = [], 0, 0
    for name, mine in zip(STORES, shares.tolist(), strict=True):
        place = folder / name
        place.mkdir(parents=True)
        count = 600 if name == "photos" else (FACES - 600) // (len(STORES) - 1)
        faces += count
        if name == "photos":
            text = photo_tree(place, count, mine, seen)
        else:
            vectors = rng.normal(0, 1, (count, planted.WIDTH)).astype(np.float32)
            rows = sorted(rng.permutation(count)[:mine].tolist())
            for photo, row in enumerate(rows):
                vectors[row] = planted.vector_of(0, 100 + seen + photo)
            text = (
                postgres_table(place, vectors)
                if name == "postgres"
                else getattr(planted, name)(place, vectors, rows)[0]
            )
            text = text.replace('path = "', f'path = "{name}/').replace('beside = ["', f'beside = ["{name}/')
        seen += mine
        lines.append(f'[[store]]\nname = "{STORES[name]}"\n{text}\n')
    return lines, faces


def photo_tree(place: Path, count: int, mine: int, first: int) -> str:
    """Photos of others and of the person, and a copy of one of these inside another file."""
    for photo in range(mine):
        planted.picture(0, 100 + first + photo).save(place / f"mine{photo}.png")
    for person in range(count - mine):
        planted.picture(1 + person, 0).save(place / f"other{person}.png")
    (place / "thumbnails.db").write_bytes(b"\0" * 999 + (place / "mine0.png").read_bytes())
    return 'kind = "photos"\npath = "photos"'


def postgres_table(place: Path, vectors: planted.Vectors) -> str:
    """A table of the server that `server` started."""
    import psycopg

    with psycopg.connect(os.environ["FACES_DSN"]) as connection:
        connection.execute("CREATE TABLE faces (id serial PRIMARY KEY, embedding real[])")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO faces (embedding) VALUES (%s)", [(one.tolist(),) for one in vectors])
    return f'kind = "postgres"\ndsn_variable = "FACES_DSN"\ntable = "faces"\ndata = "{os.environ["FACES_DATA"]}"'


def row_of(one: Swept, planted_there: int) -> list[str]:
    """What came of one store."""
    where = ", ".join(f"{count} {name}" for name, count in Counter(Path(path).name for path in one.where).items())
    if one.kind == "postgres" and one.where:
        where = "the write-ahead log" if all("pg_wal" in path for path in one.where) else where
    seen = [str(count) if count is not None else "–" for count in (one.visible, one.surviving)]
    return [one.store, str(planted_there), str(one.found), str(one.deleted), *seen, where or "–"]


def main(folder: Path) -> None:
    """Plant, sweep, save."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.save(planted.Net().state_dict(), folder / "net.pt")
    (folder / "examples").mkdir()
    for photo in range(3):
        planted.picture(0, photo).save(folder / "examples" / f"{photo}.png")
    with contextmanager(planted.server)(folder / "pg") as home:
        os.environ |= {"FACES_DSN": f"host={home} user=me dbname=postgres", "FACES_DATA": str(home / "data")}
        lines, faces = filled(folder)
        (folder / "stores.toml").write_text("\n".join(lines), encoding="utf-8")
        contract = planted.contract_of(folder)
        arch = "test_sweep:build"
        where = (folder / "examples", folder / "stores.toml", folder / "out")
        table = find_copies(*where, model=folder / "net.pt", arch=arch, contract=contract)
        table.assign(accept="yes").to_csv(folder / "out" / "found.csv", index=False)
        done = apply(folder / "out" / "found.csv", folder / "stores.toml", folder / "out", by="this command")
    shares = np.diff(np.linspace(0, COPIES, len(STORES) + 1).round().astype(int)).tolist()
    made = environment(torch.device("cpu"), 1)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    saved = {
        "title": "What stores keep",
        "commit": commit.strip(),
        "note": "Saved by the command beside the table.",
        "machine": f"{made.processor}, 1 thread, Python {made.python}, torch {made.versions['torch']}",
        "known": "Limits of these numbers:",
        "limits": LIMITS,
        "tables": [
            {
                "name": "stores",
                "caption": f"{COPIES} copies of one person in {len(STORES)} stores among {faces:,} faces",
                "command": ["python docs/save_sweep.py runs/sweep", "python docs/print_results.py"],
                "seeds": [11],
                "columns": ["store", "planted", "found", "deleted", "seen in its files before", "after", "where"],
                "rows": [row_of(one, share) for one, share in zip(done, shares, strict=True)],
            }
        ],
    }
    path = ROOT / "results" / "sweep.json"
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
