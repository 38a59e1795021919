"""A folder of photos, deeper ones included: also hidden files, and photos whose names say nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from efface.data.photos import SUFFIXES, Unusable, decode, open_photo
from efface.erasure.record import Store as Holding
from efface.errors import one_line
from efface.sweep.person import Looks, Person, suggested
from efface.sweep.raw import Forms, files_of, name_below, photo_forms
from efface.sweep.store import Copy, Place, Searched, Store, own_folder


class PhotoTree(Store):
    """`kind = "photos"`: links are not followed."""

    kind: Literal["photos"]
    path: Place
    """The folder."""
    holds: Holding = "photos"

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "files removed"

    def search(self, person: Person) -> Searched:
        """Photos by their embeddings, and near duplicates by their difference hashes."""
        seen: dict[str, tuple[float, Looks, str, Forms]] = {}
        unread = {}
        for file in self.files():
            name = name_below(file, self.path)
            try:
                with open_photo(file) as stream:
                    content = stream.read()
                score, looks = person.read(decode(content, str(file), upright=True))
            except Unusable as error:
                if file.suffix.lower() in SUFFIXES:
                    unread[one_line(name)] = error.reason
                continue
            digest = hashlib.sha256(content).hexdigest()
            seen[name] = (score, looks, digest, photo_forms(content))
        limits = person.limits([one[0] for one in seen.values()])
        copies = [
            Copy(self.name, name, score, word, digest, forms)
            for name, (score, looks, digest, forms) in seen.items()
            if (word := suggested(score, limits, person.resembles(looks))) != "no"
        ]
        return Searched(sorted(copies, key=lambda one: -one.score), len(seen), unread)

    def delete(self, copies: Sequence[Copy]) -> None:
        """Unlink the files."""
        inside = {name_below(file, self.path): file for file in self.files()}
        named = {one.location: inside[one.location] for one in copies if one.location in inside}
        self.refuse_changed(copies, {name: _digest(file) for name, file in named.items()})
        for file in named.values():
            file.unlink()

    def files(self) -> list[Path]:
        """All regular files below the folder."""
        return files_of(own_folder(self.path, f"store '{self.name}':"))


def _digest(file: Path) -> str:
    with open_photo(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
