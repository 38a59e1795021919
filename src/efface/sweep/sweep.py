"""`efface sweep`: every copy of a person in all stores, for a human to accept; deleted, and read back byte by byte.

Without `--apply` nothing is changed. With it, what was accepted is looked for again and must be what was found; it is
deleted through each store's own interface, the stores are compacted, searched again, and the raw bytes of their files
are read for whatever survived.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from efface.data.photos import some
from efface.erasure.find import ACCEPTS, REFUSES, refuse_filled
from efface.erasure.record import Deletion
from efface.errors import InputError, one_line
from efface.files import exclusive, make_folder, plain_cells, read_csv, write_bytes, write_csv
from efface.preparation.detect import detecting
from efface.sweep.person import Person, look_at
from efface.sweep.raw import present
from efface.sweep.store import Copy, Searched, Store
from efface.sweep.stores import read_stores

FOUND, SWEPT, DELETIONS = "found.csv", "sweep.json", "deletions.toml"
COLUMNS = ("store", "location", "score", "suggested", "accept", "sha256")


@dataclass(frozen=True)
class Swept:
    """What came of one store."""

    store: str
    kind: str
    holds: str
    found: int
    """Copies that were proposed."""
    accepted: int
    deleted: int
    """Of the accepted, those that the store itself no longer finds."""
    surviving: int
    """Of everything accepted in any store, how many still have bytes in this store's files."""
    kept: int
    """How many had after the store had deleted them and before it was compacted."""
    readable: int
    """How many had before: where there were none, the files are compressed and say nothing."""
    where: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Surviving copies by file and by the form in which they survive."""
    verified: str = ""
    """How it was verified."""
    by: str = ""
    day: date | None = None
    backups_expire: date | None = None
    failed: str = ""
    """Why it could not be done."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """What could not be looked at, and why."""

    @property
    def clean(self) -> bool:
        """Whether nothing is left of what was accepted."""
        return self.deleted == self.accepted and not self.surviving and not self.failed


def sweep(
    examples: Path,
    stores: Path,
    out: Path,
    *,
    model: Path,
    apply: Path | None = None,
    by: str = "",
    detector: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
    **looking: Any,
) -> list[Swept]:
    """Search all stores for a person, into `out/found.csv`; or, with `apply` (that table, accepted), delete and verify,
    into `out/sweep.json` and `out/deletions.toml`.

    by: who deletes, for the record; detector: YuNet's ONNX file; looking: as `look_at` takes it. Raises InputError,
    before anything is deleted, for an accepted copy that is no longer what was found.
    """
    known = read_stores(stores)
    if apply is not None and not by.strip():
        raise InputError("--apply deletes, and the record says by whom: give --by, such as a role or a number of staff")
    accepted = None if apply is None else read_accepted(apply)
    _refuse_inside(out, known)
    with (
        exclusive(make_folder(out) / ".lock", f"another `efface sweep` is at work in {out}: wait for it"),
        nullcontext() if detector is None else detecting(detector) as network,
    ):
        if accepted is None:
            refuse_filled(out / FOUND)
        person = look_at(examples, model=model, detector=network, **looking)
        found = {store.name: _searched(store, person, say) for store in known}
        if accepted is None:
            propose(found, out / FOUND)
            return [_proposed(store, found[store.name]) for store in known]
        swept = delete_and_verify(known, person, found, accepted, by, say)
        plain = json.dumps([asdict(one) for one in swept], indent=1, default=str, ensure_ascii=False)
        write_bytes(out / SWEPT, plain.encode("utf-8", "surrogatepass"), private=True)
        write_bytes(out / DELETIONS, deletions_toml(swept).encode("utf-8"), private=True)
        return swept


def propose(found: Mapping[str, Searched], table: Path) -> None:
    """Write what was found, best first in each store, with an empty column `accept`."""
    import pandas as pd

    rows = [
        (one.store, one.location, round(one.score, 6), one.suggested, "", one.digest)
        for searched in found.values()
        for one in searched.copies
    ]
    write_csv(table, pd.DataFrame(rows, columns=list(COLUMNS)), private=True)


def read_accepted(path: Path) -> list[tuple[str, str, str]]:
    """(store, location, SHA-256) of what somebody accepted. Raises InputError where that is nothing, and for a word
    that is neither yes nor no."""
    table = plain_cells(read_csv(path, "table of copies"))
    if missing := [name for name in COLUMNS if name not in table]:
        raise InputError(f"{path} has no column '{missing[0]}': give the {FOUND} that `efface sweep` wrote")
    words = table["accept"].str.strip().str.lower()
    if wrong := [word for word in words if word not in ACCEPTS | REFUSES]:
        raise InputError(f"{path}: accept is '{wrong[0]}' in a row: expected yes, no or nothing")
    rows = table[words.isin(ACCEPTS)]
    if rows.empty:
        raise InputError(f"{path} accepts nothing: write yes into its column accept where a row is the person's")
    return list(dict.fromkeys(rows[["store", "location", "sha256"]].itertuples(index=False, name=None)))


def delete_and_verify(
    stores: Sequence[Store],
    person: Person,
    found: Mapping[str, Searched],
    accepted: Sequence[tuple[str, str, str]],
    by: str,
    say: Callable[[str], object],
) -> list[Swept]:
    """Delete what was accepted, store by store; one that fails stops no other."""
    here = {(one.store, one.location, one.digest): one for searched in found.values() for one in searched.copies}
    if gone := [one for one in accepted if one not in here]:
        raise InputError(
            f"{len(gone):,} accepted copies are no longer what was found, {gone[0][1]} of store '{gone[0][0]}' say: "
            "nothing was deleted; sweep again without --apply"
        )
    copies = [here[one] for one in accepted]
    needles = [one.forms for one in copies]
    before = {store.name: _numbers(present(store.files(), needles)[0]) for store in stores}
    failed, kept = {}, {}
    for store in stores:
        mine = [one for one in copies if one.store == store.name]
        try:
            if mine:
                say(f"deleting {len(mine):,} from {store.name}")
                store.delete(mine)
                kept[store.name] = len(_numbers(present(store.files(), needles)[0]))
                store.compact()
        except (InputError, OSError) as error:
            failed[store.name] = str(error)
    return [
        _verified(
            store,
            person,
            found[store.name],
            copies,
            readable=len(before[store.name]),
            kept=kept.get(store.name, 0),
            failed=failed.get(store.name, ""),
            by=by,
        )
        for store in stores
    ]


def _verified(
    store: Store,
    person: Person,
    found: Searched,
    copies: Sequence[Copy],
    *,
    readable: int,
    kept: int,
    failed: str,
    by: str,
) -> Swept:
    """Search a store again, and read its files."""
    mine = [one for one in copies if one.store == store.name]
    try:
        left = Counter(one.digest for one in store.search(person).copies)
    except InputError as error:
        left, failed = Counter(one.digest for one in mine), failed or str(error)
    gone = Counter(one.digest for one in mine)
    stay = Counter(one.digest for one in found.copies) - gone
    still = ((left - stay) & gone).total()
    files, closed = present(store.files(), [one.forms for one in copies])
    after = _numbers(files)
    where = {_short(store, file): {form: len(many) for form, many in forms.items()} for file, forms in files.items()}
    ways = [store.compaction, "searched again"]
    ways.append(
        f"raw bytes of {len(store.files()):,} files read"
        if readable
        else "raw bytes said nothing before: compressed, or written as no known form"
        if mine
        else "raw bytes read"
    )
    return Swept(
        store=store.name,
        kind=store.model_dump()["kind"],
        holds=store.holds,
        found=len(found.copies),
        accepted=len(mine),
        deleted=len(mine) - still,
        surviving=len(after),
        kept=kept,
        readable=readable,
        where=where,
        verified=", ".join(ways) if mine else ways[-1],
        by=by if mine else "",
        day=date.today(),
        backups_expire=store.backups_expire,
        failed=failed,
        unread={**found.unread, **{_short(store, file): "raw bytes cannot be read" for file in closed}},
    )


def deletions_of(swept: Sequence[Swept]) -> list[Deletion]:
    """Entries of the record, as `[[deletions]]` of a request takes them: what is gone; what is still to do, due at
    once, where bytes survive; backups, by when they expire."""
    entries = []
    for one in swept:
        day = one.day or date.today()
        left = max(one.surviving, one.accepted - one.deleted)
        gone = max(one.accepted - left, 0)
        if gone:
            entries.append(Deletion(store=one.holds, where=one.store, count=gone, state="deleted", day=day))  # type: ignore[arg-type]
        if left:
            entries.append(Deletion(store=one.holds, where=one.store, count=left, state="to do", day=day))  # type: ignore[arg-type]
        if not gone and not left:
            entries.append(Deletion(store=one.holds, where=one.store, state="nothing found"))  # type: ignore[arg-type]
        if one.backups_expire is not None and (one.accepted or one.surviving):
            where = f"backups of {one.store}"
            entries.append(Deletion(store="backups", where=where, state="expires", day=one.backups_expire))
    return entries


def deletions_toml(swept: Sequence[Swept]) -> str:
    """These entries as tables of a request's file."""
    tables = []
    for entry in deletions_of(swept):
        lines = [
            f"{name} = {value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False)}"
            for name, value in entry.model_dump(exclude_none=True).items()
        ]
        tables.append("\n".join(["[[deletions]]", *lines]))
    return "\n\n".join(tables) + "\n"


def lines_of(swept: Sequence[Swept]) -> list[str]:
    """A line for each store, for whoever had it done."""
    lines = []
    for one in swept:
        unread = f"; {len(one.unread):,} could not be looked at: {some(one.unread)}" if one.unread else ""
        if not one.day:
            lines.append(one_line(f"{one.store}: {one.found:,} found{unread}"))
            continue
        survives = f"; bytes of {one.surviving:,} survive in {some(one.where)}" if one.surviving else ""
        failed = f"; failed: {one.failed}" if one.failed else ""
        lines.append(
            one_line(
                f"{one.store}: {one.found:,} found, {one.accepted:,} accepted, {one.deleted:,} deleted{survives}"
                f"{failed} ({one.verified}){unread}"
            )
        )
    return lines


def _searched(store: Store, person: Person, say: Callable[[str], object]) -> Searched:
    found = store.search(person)
    say(f"{store.name}: {len(found.copies):,} of {found.entries:,}")
    return found


def _proposed(store: Store, found: Searched) -> Swept:
    kind = store.model_dump()["kind"]
    return Swept(store.name, kind, store.holds, len(found.copies), 0, 0, 0, 0, 0, unread=found.unread)


def _numbers(found: Mapping[Path, Mapping[str, set[int]]]) -> set[int]:
    return {number for forms in found.values() for numbers in forms.values() for number in numbers}


def _short(store: Store, file: Path) -> str:
    """A file's path below the store's folder, where it lies in one."""
    roots = [root for root in store.roots() if root in file.parents]
    return one_line(file.relative_to(roots[0]).as_posix() if roots else file.name)


def _refuse_inside(out: Path, stores: Sequence[Store]) -> None:
    """Raise InputError where what is written would lie in a store."""
    for store in stores:
        if any(root.resolve() in (out.resolve(), *out.resolve().parents) for root in store.roots()):
            raise InputError(f"{out} lies in the store '{store.name}': give another --out")
