"""`efface sweep`: find every copy of a person, delete what somebody accepted, and see what the files still hold.

Nothing is deleted without an accepted list. What is deleted must still be what was found.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from efface.erasure.embedding import load_embedder
from efface.erasure.find import ACCEPTS, REFUSES, examples_of
from efface.errors import InputError, one_line, refusing
from efface.files import exclusive, make_folder, plain_cells, read_csv, read_text, toml_of, write_csv, write_private
from efface.progress import Progress
from efface.settings import first_complaint
from efface.sweep.arrays import ArrayGallery
from efface.sweep.photo_tree import PhotoTree
from efface.sweep.raw import surviving
from efface.sweep.sql import PostgresTable, SqliteTable
from efface.sweep.store import Copy, Store, Wanted
from efface.sweep.tables import TableGallery
from efface.sweep.vector_indexes import ChromaCollection, FaissIndex, QdrantCollection

FOUND, SWEPT, DELETIONS = "found.csv", "sweep.json", "deletions.toml"
AnyStore = Annotated[
    PhotoTree
    | ArrayGallery
    | TableGallery
    | SqliteTable
    | PostgresTable
    | FaissIndex
    | QdrantCollection
    | ChromaCollection,
    Field(discriminator="kind"),
]
"""Every kind of store; one more is a subclass of `Store` in a file of its own, and a line here."""


class Stores(BaseModel):
    """A stores file."""

    model_config = ConfigDict(extra="forbid")

    store: Annotated[list[AnyStore], Field(min_length=1, max_length=1000)]


class Swept(BaseModel):
    """What became of one store."""

    store: str
    kind: str
    found: int
    """Copies that were found ..."""
    accepted: int
    """... and how many of them somebody accepted."""
    deleted: int
    """Of these, how many a second search no longer found."""
    visible: int | None
    """How many of the accepted stood in the bytes of the store's files before, in a form that is looked for; None where
    its files are not on this machine."""
    surviving: int | None
    """How many of these still do. Nothing can be said of the others."""
    where: list[str] = []
    """Files that still hold some."""
    by: str
    """Who ran it."""
    at: datetime
    verified: str
    """How."""
    backups_expire: str | None = None


def find_copies(
    examples: Path,
    stores: Path,
    out: Path,
    *,
    model: Path,
    arch: str | None = None,
    contract: Path | None = None,
    threshold: float = 0.5,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Every copy in every store, best first, into `out/found.csv`, whose column `accept` a human fills in.

    examples: a photo or a folder of photos of the person. threshold: cosine from which on something is reported; copies
    of the examples' pictures are reported whatever their cosine. Raises InputError for a store that cannot be opened,
    before any is searched.
    """
    opened = read_stores(stores)
    embedder = load_embedder(model, arch, contract=contract)
    vectors, looks = examples_of(examples, embedder)
    wanted = Wanted(vectors, looks, embedder, threshold)
    with exclusive(make_folder(out) / ".lock", f"another `efface sweep` is at work in {out}: wait for it"):
        if (out / FOUND).exists() and plain_cells(read_csv(out / FOUND, "list"))["accept"].str.strip().any():
            raise InputError(f"{out / FOUND} has been written into: apply it, or give another --out")
        rows = []
        for store in (progress or Progress()).track(opened, len(opened), "searching stores"):
            for copy in sorted(store.search(wanted), key=lambda one: -np.nan_to_num(one.score, nan=-2)):
                rows.append([store.name, copy.place, copy.kind, f"{copy.score:.4f}", copy.digest, ""])
        table = pd.DataFrame(rows, columns=["store", "place", "kind", "score", "digest", "accept"], dtype=str)
        write_csv(out / FOUND, table, private=True)
    return table


def apply(accepted: Path, stores: Path, out: Path, *, by: str) -> list[Swept]:
    """Delete what a list accepts, look for it again in the stores and in their raw bytes, and write `out/sweep.json`
    and `out/deletions.toml`, the entries for a request's record.

    Raises InputError, and deletes nothing anywhere, where a store no longer holds what was found.
    """
    opened = {one.name: one for one in read_stores(stores)}
    table = read_found(accepted, list(opened))
    chosen = {name: copies_of(table, name) for name in opened}
    with exclusive(make_folder(out) / ".lock", f"another `efface sweep` is at work in {out}: wait for it"):
        for name, copies in chosen.items():
            refuse_changed(opened[name], copies)
        done = []
        for name, store in opened.items():
            found = int((table["store"] == name).sum())
            done.append(delete_and_verify(store, chosen[name], found, by))
            write_private(out / SWEPT, ("[\n" + ",\n".join(one.model_dump_json() for one in done) + "\n]\n").encode())
        write_private(out / DELETIONS, deletions(done).encode())
    return done


def delete_and_verify(store: Store, copies: Sequence[Copy], found: int, by: str) -> Swept:
    """Delete from one store, and see what is left."""
    needles = store.needles(copies)
    before = standing(needles, store.files())
    if copies:
        store.delete(copies)
    held = present(store, copies)
    files = store.files()
    after = {place: paths for place, paths in standing(needles, files).items() if place in before}
    return Swept(
        store=store.name,
        kind=store.kind,
        found=found,
        accepted=len(copies),
        deleted=len(copies) - len(held),
        visible=len(before) if files else None,
        surviving=len(after) if files else None,
        where=sorted({str(path) for paths in after.values() for path in paths}),
        by=by,
        at=datetime.now(UTC).replace(microsecond=0),
        verified=f"searched again{', and the bytes of its files read' if files else '; its files are not here'}",
        backups_expire=None if store.backups_expire is None else store.backups_expire.isoformat(),
    )


def standing(needles: Mapping[str, Sequence[bytes]], files: Sequence[Path]) -> dict[str, list[Path]]:
    """By place of a copy the files in whose bytes a slice of it stands."""
    seen = surviving([one for parts in needles.values() for one in parts], files)
    found = {place: [path for one in parts for path in seen.get(one, [])] for place, parts in needles.items()}
    return {place: paths for place, paths in found.items() if paths}


def present(store: Store, copies: Sequence[Copy]) -> set[str]:
    """Digests of these copies that the store still holds: at their place or, where places move up, anywhere."""
    wanted = {one.digest for one in copies}
    return {one.digest for one in store.everything() if one.digest in wanted} if wanted else set()


def refuse_changed(store: Store, copies: Sequence[Copy]) -> None:
    """Raise InputError where a place no longer holds what was found there."""
    now = {one.place: one.digest for one in store.everything()} if copies else {}
    for one in copies:
        if now.get(one.place) != one.digest:
            raise InputError(
                f"store '{store.name}' has changed since it was searched: {one_line(one.place, 80)} is not what was "
                "found; search again"
            )


def read_stores(path: Path) -> list[Store]:
    """The stores of a file, each seen to be there; InputError where one is not, or the file is none."""
    with refusing(f"stores file {path} is not valid TOML"):
        tables = tomllib.loads(read_text(path, "stores file"))
    try:
        stores = Stores.model_validate(tables).store
    except ValidationError as error:
        raise InputError(f"stores file {path}: {first_complaint(error, Stores)}") from None
    names = [one.name for one in stores]
    if double := [name for name in names if names.count(name) > 1]:
        raise InputError(f"stores file {path}: two stores are called '{double[0]}': give each a name of its own")
    for one in stores:
        one.check(path.parent)
    return list(stores)


def read_found(path: Path, stores: Sequence[str]) -> pd.DataFrame:
    """A list that `find_copies` wrote and somebody filled in."""
    table = plain_cells(read_csv(path, "list of copies"))
    if missing := [name for name in ("store", "place", "kind", "digest", "accept") if name not in table]:
        raise InputError(f"{path} has no column '{missing[0]}': give what `efface sweep` wrote, separated by commas")
    words = table["accept"].str.strip().str.lower()
    if wrong := [one for one in words if one not in ACCEPTS | REFUSES]:
        raise InputError(f"{path}: accept is '{one_line(wrong[0], 40)}': expected yes, no or nothing")
    if strange := sorted({*table["store"]} - {*stores}):
        raise InputError(f"{path} is of the store '{one_line(strange[0], 80)}', which is not in the stores file")
    accepted = words.isin(ACCEPTS)
    if not accepted.any():
        raise InputError(f"{path} accepts nothing: write yes into its column accept for what shall be deleted")
    return table.assign(accept=np.where(accepted, "yes", "no"))


def copies_of(table: pd.DataFrame, store: str) -> list[Copy]:
    """What is accepted of one store."""
    rows = table[(table["store"] == store) & (table["accept"] == "yes")]
    kinds: Any = rows["kind"].tolist()
    return [
        Copy(place, kind, float("nan"), digest)
        for place, kind, digest in zip(rows["place"], kinds, rows["digest"], strict=True)
    ]


def deletions(swept: Sequence[Swept]) -> str:
    """`[[deletions]]` of a request: what was deleted, what is left and where, when backups expire."""
    entries: list[dict[str, Any]] = []
    for one in swept:
        kind = "photos" if one.kind == "photos" else "templates"
        day = one.at.date()
        state = {"state": "deleted", "day": day} if one.accepted else {"state": "nothing found"}
        entries.append({"store": kind, "where": one.store, "count": one.deleted} | state)
        if one.surviving:
            why = "the store keeps deleted vectors in its files until they are written over"
            where = f"bytes of {one.store}"
            entries.append({"store": kind, "where": where, "count": one.surviving, "state": "kept", "why": why})
        if one.backups_expire:
            last = date.fromisoformat(one.backups_expire)
            entries.append({"store": "backups", "where": f"backups of {one.store}", "state": "expires", "day": last})
    return toml_of({"deletions": entries})
