"""Directions of people in a model's file: rows of a head, prototypes of a gallery kept beside the network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from efface.data.faces import Array
from efface.erasure.architecture import architecture, network_of
from efface.erasure.checkpoint import Checkpoint, open_checkpoint, write_checkpoint
from efface.erasure.embedding import SIZE
from efface.erasure.record import Store as Holding
from efface.errors import InputError, nearest
from efface.sweep.store import BLOCK, Identifier, Place, VectorStore, own_file, row_names


class HeadRows(VectorStore):
    """`kind = "head"`: rows become zeros, in the head's bias and in states of optimisers too; of networks that efface
    recognises."""

    kind: Literal["head"]
    path: Place
    """The file of weights."""
    head: Identifier
    """Where in the file it stands, as `efface inspect` lists it."""
    holds: Holding = "downstream models"

    @property
    def compaction(self) -> str:
        """What `compact` does, in words."""
        return "emptied rows overwritten with zeros"

    def vectors(self) -> Iterator[tuple[list[str], Array]]:
        """Rows of the head; emptied ones match nobody."""
        checkpoint = self._open()
        rows = checkpoint.heads[self.head].float().numpy()
        rows = rows.T if checkpoint.people_axis(self.head) else rows
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            yield row_names(start, len(block)), block

    def remove(self, locations: Sequence[str]) -> None:
        """Overwrite the rows with zeros, the file written again in its own layout."""
        checkpoint = self._open()
        rows = [int(one.removeprefix("row ")) for one in locations]
        about, new = self.path.stat(), self.path.with_name(self.path.name + ".swept")
        try:
            write_checkpoint(checkpoint, checkpoint.weights, new, emptied_rows={self.head: rows})
            new.chmod(about.st_mode & 0o7777)
            os.replace(new, self.path)
        finally:
            new.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """The file of weights."""
        return [self.path]

    def _open(self) -> Checkpoint:
        own_file(self.path, f"store '{self.name}':")
        network = network_of(self.path, None, architecture(self.path).shape or (3, SIZE[1], SIZE[0]))
        checkpoint = open_checkpoint(self.path, network)
        if self.head not in checkpoint.heads:
            raise InputError(
                f"store '{self.name}': {self.path} has no head '{self.head}'{nearest(self.head, checkpoint.heads)}"
            )
        return checkpoint
