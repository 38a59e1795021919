"""A checkpoint that somebody else's code wrote: a network's weights found in it, and new ones written back.

What is written is the same file but for the numbers of these weights: container, names, order, nesting, kinds of
numbers and everything beside them stay byte by byte, since the file is copied and overwritten in place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from efface.erasure.stored import (
    CHUNK,
    Format,
    Layout,
    Stored,
    overwrite,
    read_layout,
    read_tensor,
    same_outside,
    touched,
)
from efface.errors import InputError, nearest
from efface.files import replacing
from efface.models.load import (
    Weights,
    bare,
    fitting,
    nothing_fits,
    several,
    state_dicts,
)


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights in which a network was found."""

    path: Path
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    format: Format
    weights: Weights
    """Under the network's own names, numbers of half precision in single."""
    names: Mapping[str, str]
    """Where in the file each weight stands, by the network's name of it: names of tables and its own, with dots."""
    stripped: str
    """Where in the file the weights lie and what stands before their names, in words."""
    heads: Weights
    """Matrices beside the network that could hold a direction per person, by where in the file they stand."""
    beside: tuple[str, ...]
    """What else the file holds, in words."""
    stale: tuple[str, ...]
    """Where states of optimisers stand: they are of the weights before."""
    layout: Layout
    dimensions: int
    """Of an embedding."""

    def people_axis(self, head: str) -> int:
        """Which axis of a head counts the people: the one that is not as long as an embedding."""
        rows, columns = self.heads[head].shape
        return 1 if rows == self.dimensions and columns != self.dimensions else 0


def open_checkpoint(path: Path, network: nn.Module, *, dimensions: int | None = None) -> Checkpoint:
    """Find a network's weights in a file: under whatever prefix, wrapper or nesting, with whatever beside them.

    dimensions: of an embedding; as a rule the length of the network's last weights. Raises InputError where nothing in
    the file fits the network, where several sets of weights do, and for a file that holds code.
    """
    digest, held = _digest(path), state_dicts(path)
    layout = read_layout(path)
    stored = layout.tensors()
    wanted = network.state_dict()
    dimensions = dimensions or _last_length(wanted)
    names = _names_of(path, held, stored, network, dimensions)
    weights = {}
    for name, place in names.items():
        if place not in stored:
            raise InputError(f"{path}: {place} is no plain tensor: save the weights as dense numbers")
        if stored[place].shape != wanted[name].shape:
            raise InputError(
                f"{path} is of another network: {name} is {stored[place].shape}, expected {tuple(wanted[name].shape)}; "
                "give the size of picture and the settings it was trained with"
            )
        weights[name] = _in_memory(read_tensor(path, layout, stored[place]))
    used = set(names.values())
    stale = tuple(_optimisers(layout.content, ""))
    heads = {
        place: read_tensor(path, layout, one)
        for place, one in stored.items()
        if len(one.shape) == 2 and dimensions in one.shape and place not in used and not _below(place, stale)
    }
    beside = tuple(_beside(layout.content, "", _with_parents(used), stale, dict.fromkeys(used)))
    return Checkpoint(
        path, digest, layout.format, weights, names, _stripped(names), heads, beside, stale, layout, dimensions
    )


def write_checkpoint(
    checkpoint: Checkpoint,
    network_state: Mapping[str, Tensor],
    out: Path,
    *,
    emptied_rows: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Write the file again with other weights in it, readable by its owner alone; SHA-256 of the new file.

    network_state: under the network's own names, as `weights`. Numbers that did not change keep their bits.
    emptied_rows: numbers of people by the head, one of `heads`, whose rows become zeros in it, in its bias and in what
    an optimiser keeps of it (a gradient of a row has the direction of the embeddings); else states of optimisers stay.
    The file is read back: every tensor must be what was meant or what it was, and every other byte the same.
    Raises InputError for weights that are not finite or too large for the file's kind of numbers, for two values of one
    memory, and for a file that changed since it was opened.
    """
    stored = checkpoint.layout.tensors()
    if out.exists() and out.samefile(checkpoint.path):
        raise InputError(f"{out} is the file that the weights came from: give another name, so that it stays")
    meant: dict[str, Tensor] = {}
    for name, place in checkpoint.names.items():
        if name not in network_state:
            raise InputError(f"{name} for {out} is missing{nearest(name, network_state)}")
        before = read_tensor(checkpoint.path, checkpoint.layout, stored[place])
        value = _in_kind(network_state[name].detach().cpu(), before, f"{name} for {out}")
        if not torch.equal(_bits(meant.setdefault(place, value)), _bits(value)):
            raise InputError(_shared(checkpoint, place))
    for head, rows in (emptied_rows or {}).items():
        meant |= _emptied(checkpoint, stored, head, rows)
    writes = [(stored[place], value) for place, value in meant.items()]
    with replacing(out) as part:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if _digest(checkpoint.path, file.write) != checkpoint.digest:
                raise InputError(f"{checkpoint.path} changed since it was opened: begin again")
        overwrite(part, checkpoint.layout, writes)
        _check_written(checkpoint, part, meant)
        return _digest(part)


def _digest(path: Path, also: Callable[[bytes], object] = len) -> str:
    """SHA-256 of a file, whose bytes are handed on as they are read."""
    found = hashlib.sha256()
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            also(chunk)
    return found.hexdigest()


def _in_memory(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor


def _in_kind(value: Tensor, before: Tensor, what: str) -> Tensor:
    """A weight in the file's kind of numbers; where it is what the file's was in the network's, the file's."""
    if value.shape != before.shape:
        raise InputError(f"{what} is {tuple(value.shape)}: expected {tuple(before.shape)}")
    seen = before.to(value.dtype)
    written = torch.where(value == seen, before, value.to(before.dtype))
    if before.is_floating_point():
        if not (written.isfinite() | (written.isnan() & before.isnan()) | (written == before)).all():
            raise InputError(f"{what} has numbers that are not finite in {_kind(before)}: nothing was written")
    elif not torch.equal(written.to(value.dtype), value):
        raise InputError(f"{what} has numbers that are none of {_kind(before)}: nothing was written")
    return written


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _emptied(checkpoint: Checkpoint, stored: Mapping[str, Stored], head: str, rows: Sequence[int]) -> dict[str, Tensor]:
    """A head with the rows of some people, and their entries of its bias, overwritten with zeros."""
    if head not in checkpoint.heads:
        raise InputError(f"{checkpoint.path} has no head '{head}'{nearest(head, checkpoint.heads)}")
    axis = checkpoint.people_axis(head)
    people = checkpoint.heads[head].shape[axis]
    wrong = [row for row in rows if not 0 <= row < people]
    if wrong:
        raise InputError(f"head '{head}' of {checkpoint.path} has {people} people: there is no row {wrong[0]}")
    bias = f"{head.rpartition('.')[0]}.bias".removeprefix(".")
    beside = {place: one.shape for place, one in stored.items() if place not in checkpoint.names.values()}
    parts = {place: 0 for place, shape in beside.items() if place == bias and shape == (people,)}
    parts |= {
        place: axis
        for place, shape in beside.items()
        if place == head or (shape == stored[head].shape and _below(place, checkpoint.stale))
    }
    return {
        place: read_tensor(checkpoint.path, checkpoint.layout, stored[place]).index_fill(
            along, torch.tensor(list(rows), dtype=torch.int64), 0
        )
        for place, along in parts.items()
    }


def _check_written(checkpoint: Checkpoint, part: Path, meant: Mapping[str, Tensor]) -> None:
    """Raise InputError unless a file holds what was meant, and all else as before."""
    before, after = checkpoint.layout.tensors(), read_layout(part).tensors()
    changed = [before[place] for place in meant]
    if list(before.items()) != list(after.items()) or not same_outside(
        checkpoint.path, part, touched(checkpoint.layout, changed)
    ):
        raise InputError(f"{checkpoint.path} cannot be written again: what stands beside the weights did not come back")
    regions: dict[str, list[range]] = {}
    for one in changed:
        regions.setdefault(one.storage, []).append(one.extent)
    held = {_join(where, name): one for where, weights in state_dicts(part).items() for name, one in weights.items()}
    for place, stored in before.items():
        if stored.storage not in regions:
            continue
        expected = meant.get(place)
        if expected is None:
            if any(_overlap(stored.extent, one) for one in regions[stored.storage]):
                continue
            expected = read_tensor(checkpoint.path, checkpoint.layout, stored)
        found = held.get(place, read_tensor(part, checkpoint.layout, stored))
        if not torch.equal(_bits(found), _bits(expected)):
            raise InputError(_shared(checkpoint, place))


def _shared(checkpoint: Checkpoint, place: str) -> str:
    return (
        f"{checkpoint.path} cannot be written again: {place} did not come back as it was meant; in the file it shares "
        "memory with another tensor, in the network it does not"
    )


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().flatten().view(torch.uint8)


def _overlap(first: range, second: range) -> bool:
    return first.start < second.stop and second.start < first.stop


# Finding the network


def _names_of(
    path: Path, held: Mapping[str, Weights], stored: Mapping[str, Stored], network: nn.Module, dimensions: int
) -> dict[str, str]:
    """Where in the file each of a network's weights stands."""
    wanted = network.state_dict()
    alike = _tied(wanted)
    places = {where: {name: _join(where, name) for name in weights} for where, weights in held.items()}
    found = fitting(places, wanted, alike)
    if not found:
        without = {where: _without_heads(names, held[where], wanted, dimensions) for where, names in places.items()}
        found = fitting(without, wanted, alike)
    sets = {where: names for where, names in found.items() if all(names.keys() & tied for tied in alike.values())}
    if not sets:
        raise InputError(nothing_fits(path, held, [set(wanted)]))
    memory = {where: {_memory(stored, place) for place in names.values()} for where, names in sets.items()}
    if len(set(map(frozenset, memory.values()))) > 1:
        raise InputError(several(path, sets))
    names = next(iter(sets.values()))
    return names | {
        name: next(names[one] for one in tied if one in names) for name, tied in alike.items() if name not in names
    }


def _tied(weights: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """All names of each weight that has several; a file may hold it under one of them."""
    same: dict[object, list[str]] = {}
    for name, tensor in weights.items():
        if tensor.numel() and not tensor.is_meta:
            same.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    return {name: tuple(names) for names in same.values() if len(names) > 1 for name in names}


def _without_heads(
    places: Mapping[str, str], weights: Weights, wanted: Collection[str], dimensions: int
) -> dict[str, str]:
    """The names of a state dict but for single numbers, and for modules whose one matrix could be a head."""
    modules: dict[str, list[str]] = {}
    for name in places:
        if bare(name, wanted) not in wanted:
            modules.setdefault(name.rpartition(".")[0], []).append(name)
    aside = {
        name
        for names in modules.values()
        for name in names
        if (deepest := max(weights[one].dim() for one in names)) == 0
        or (deepest == 2 and [dimensions in weights[one].shape for one in names if weights[one].dim() == 2] == [True])
    }
    return {name: place for name, place in places.items() if name not in aside}


def _memory(stored: Mapping[str, Stored], place: str) -> object:
    """What two names of the same numbers in a file have in common."""
    return (one.storage, one.offset) if (one := stored.get(place)) else place


def _last_length(weights: Mapping[str, Tensor]) -> int:
    """The length of a network's last weights: as a rule that of its embeddings."""
    lengths = [tensor.shape[0] for tensor in weights.values() if tensor.dim()]
    if not lengths:
        raise InputError("the network has no weights: give a factory that makes the network of this file")
    return lengths[-1]


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _stripped(names: Mapping[str, str]) -> str:
    """What stands before a network's names in its file, in words."""
    before = {place.removesuffix(name) if place.endswith(name) else None for name, place in names.items()}
    if before == {""}:
        return "the names are the network's own"
    shown = sorted(repr(one) for one in before if one is not None)
    inside = ["wrappers inside the names"] if None in before else []
    return "stripped: " + ", ".join([*shown, *inside])


def _with_parents(places: Collection[str]) -> set[str]:
    """Places, and those of all tables around them."""
    parts = [place.split(".") for place in places]
    return {".".join(one[:count]) for one in parts for count in range(1, len(one) + 1)}


def _below(place: str, tables: Collection[str]) -> bool:
    return any(place == table or place.startswith(f"{table}.") for table in tables)


def _optimisers(found: object, where: str, depth: int = 0) -> Iterator[str]:
    """Where tables stand that are states of optimisers."""
    if depth > 4 or not isinstance(found, dict | list | tuple):
        return
    if isinstance(found, dict) and found.keys() >= {"state", "param_groups"}:
        yield where
        return
    for name, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield from _optimisers(value, _join(where, str(name)), depth + 1)


def _beside(
    found: Mapping[object, object], where: str, around: Collection[str], stale: Collection[str], used: Collection[str]
) -> Iterator[str]:
    """What a table holds that is not the network's, in words; `around`: all places on the way to a weight."""
    modules: dict[str, list[tuple[str, Stored]]] = {}
    for name, value in found.items():
        place = _join(where, str(name))
        if isinstance(value, dict) and place in around:
            yield from _beside(value, place, around, stale, used)
        elif isinstance(value, Stored):
            if place not in used:
                modules.setdefault(str(name).partition(".")[0], []).append((place, value))
        else:
            many = _count(value)
            yield place + (" (state of an optimiser)" if _holds(place, stale) else f" ({many} tensors)" if many else "")
    for module, tensors in modules.items():
        if len(tensors) > 3:
            yield f"{_join(where, module)} ({len(tensors)} tensors)"
        else:
            yield from (f"{place} {one.shape}" for place, one in tensors)


def _holds(place: str, tables: Collection[str]) -> bool:
    return any(table == place or table.startswith(f"{place}.") for table in tables)


def _count(found: object, depth: int = 0) -> int:
    """How many tensors tables and lists hold."""
    if isinstance(found, Stored):
        return 1
    if depth > 6 or not isinstance(found, dict | list | tuple):
        return 0
    return sum(_count(one, depth + 1) for one in (found.values() if isinstance(found, dict) else found))
