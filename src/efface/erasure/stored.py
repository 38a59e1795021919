"""Where in a file of weights each tensor lies, byte by byte, so that it can be overwritten and all else stays.

Three formats: the archive that torch.save writes, the stream that it wrote before PyTorch 1.6, and safetensors. Pickles
are read for where tensors lie; whatever else they name is a stand-in, and nothing of it is run.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

import torch
from torch import Tensor

from efface.errors import InputError, refusing

Format = Literal["torch", "torch before 1.6", "safetensors"]

SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "Untyped": torch.uint8,
}
"""What torch's classes of storages hold, by the beginning of their names."""
DEEPEST = 12
"""Tables within tables of a checkpoint that are looked into."""
CHUNK = 2**20


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: numbers of one kind in a storage, from `offset` numbers on, a step of `stride` apart."""

    storage: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def extent(self) -> range:
        """Bytes of its storage from its first number to its last."""
        size = self.dtype.itemsize
        if 0 in self.shape:
            return range(0)
        last = sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))
        return range(self.offset * size, (self.offset + last + 1) * size)


@dataclass(frozen=True)
class Layout:
    """What a file of weights holds, and where."""

    format: Format
    content: Any
    """Tables and lists as in the file: `Stored` for every plain tensor, a stand-in for what is no plain value."""
    storages: Mapping[str, range]
    """Bytes of the file that each storage takes."""
    sums: Mapping[str, tuple[int, ...]]
    """Where in the file the CRC-32 of a storage stands."""

    def tensors(self) -> dict[str, Stored]:
        """Every plain tensor by where it stands in the file, names joined by dots."""
        found: dict[str, Stored] = {}
        for name, stored in _tensors_in(self.content, "", set(), 0):
            if name in found:
                raise InputError(f"it has two tensors of the name {name}: save the weights by themselves")
            found[name] = stored
        return found


def read_layout(path: Path) -> Layout:
    """Where the tensors of a file lie. Raises InputError for a file of another kind, a broken one, and big-endian."""
    size = path.stat().st_size
    with path.open("rb") as file, refusing(f"{path} has weights that cannot be located"):
        start = file.read(9)
        file.seek(0)
        if start.startswith(b"PK\3\4"):
            layout = _archive(file)
        elif start[8:] == b"{":
            layout = _safetensors(file)
        else:
            layout = _stream(file)
        if any(place.start < 0 or place.stop > size for place in layout.storages.values()):
            raise ValueError("it is cut off")
        if sys.byteorder != "little":
            raise ValueError("this machine orders bytes from the most significant on, the file does not")
    return layout


def read_tensor(path: Path, layout: Layout, stored: Stored) -> Tensor:
    """A tensor of a file, contiguous."""
    with path.open("rb") as file:
        storage = _read(file, layout.storages[stored.storage])
    return _view(storage, stored).clone(memory_format=torch.contiguous_format)


def overwrite(path: Path, layout: Layout, values: Sequence[tuple[Stored, Tensor]]) -> None:
    """Write tensors over those of a file, and the sums of what they lie in."""
    with path.open("r+b") as file, refusing(f"{path} cannot be overwritten"):
        for key in {stored.storage: None for stored, _ in values}:
            place = layout.storages[key]
            storage = _read(file, place)
            before = struct.pack("<I", zlib.crc32(storage))
            for stored, value in values:
                if stored.storage == key and value.numel():
                    _view(storage, stored).copy_(value)
            file.seek(place.start)
            file.write(storage)
            for sum_at in layout.sums.get(key, ()):
                if _read(file, range(sum_at, sum_at + 4)) == before:  # torch can be told to write none
                    file.seek(sum_at)
                    file.write(struct.pack("<I", zlib.crc32(storage)))


def touched(layout: Layout, values: Sequence[Stored]) -> list[range]:
    """Bytes of the file that writing these tensors may change, in order."""
    keys = {stored.storage for stored in values}
    places = [layout.storages[key] for key in keys]
    places += [range(at, at + 4) for key in keys for at in layout.sums.get(key, ())]
    return sorted(places, key=lambda place: place.start)


def same_outside(first: Path, second: Path, changed: Sequence[range]) -> bool:
    """Whether two files agree in every byte outside of some places, which are in order."""
    if first.stat().st_size != second.stat().st_size:
        return False
    ends = [0, *(place.stop for place in changed)]
    starts = [*(place.start for place in changed), first.stat().st_size]
    with first.open("rb") as one, second.open("rb") as other:
        for begin, end in zip(ends, starts, strict=True):
            one.seek(begin)
            other.seek(begin)
            for at in range(begin, end, CHUNK):
                many = min(CHUNK, end - at)
                if one.read(many) != other.read(many):
                    return False
    return True


def _read(file: IO[bytes], place: range) -> bytearray:
    file.seek(place.start)
    storage = bytearray(file.read(len(place)))
    if len(storage) != len(place):
        raise ValueError("it is cut off")
    return storage


def _view(storage: bytearray, stored: Stored) -> Tensor:
    """A tensor upon the bytes of its storage."""
    if 0 in stored.shape or not storage:
        return torch.empty(stored.shape, dtype=stored.dtype)
    if stored.offset < 0 or min(stored.stride, default=0) < 0 or stored.extent.stop > len(storage):
        raise ValueError("it is cut off")
    numbers = torch.frombuffer(storage, dtype=stored.dtype, count=len(storage) // stored.dtype.itemsize)
    return numbers.as_strided(stored.shape, stored.stride, stored.offset)


def _tensors_in(found: object, where: str, seen: set[int], depth: int) -> Iterator[tuple[str, Stored]]:
    if isinstance(found, Stored):
        yield where, found
        return
    if not isinstance(found, dict | list | tuple) or id(found) in seen or depth > DEEPEST:
        return
    seen.add(id(found))
    for name, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield from _tensors_in(value, f"{where}.{name}" if where else str(name), seen, depth + 1)


# The three formats


def _safetensors(file: IO[bytes]) -> Layout:
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    content, storages = {}, {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        shape, (begin, end) = tuple(about["shape"]), about["data_offsets"]
        if (dtype := SAFETENSORS.get(about["dtype"])) is None:
            continue
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {end - begin} bytes for the shape {shape}")
        content[name] = Stored(name, dtype, shape, _steps(shape), 0)
        storages[name] = range(8 + length + begin, 8 + length + end)
    return Layout("safetensors", content, storages, {})


def _steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _archive(file: IO[bytes]) -> Layout:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        roots = [name.removesuffix("data.pkl") for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(roots) != 1 or len(set(names)) < len(names):
            raise ValueError("it is no archive of torch.save")
        entries = _entries(file, archive.start_dir, len(members))
    root, places, sums = roots[0], {}, {}
    for member, entry in zip(members, entries, strict=True):
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError("it is compressed or encrypted")
        local = _read(file, range(member.header_offset, member.header_offset + 30))
        start = member.header_offset + 30 + sum(struct.unpack("<HH", local[26:30]))
        name = member.filename.removeprefix(root)
        places[name] = range(start, start + member.file_size)
        sums[name.removeprefix("data/")] = (entry + 16, _sum_beside(file, member, start))
    if "byteorder" in places and _read(file, places["byteorder"]) != b"little":
        raise ValueError("its numbers are big-endian: save it on a little-endian machine")
    content = _Reader(io.BytesIO(_read(file, places["data.pkl"]))).load()
    storages = {name.removeprefix("data/"): place for name, place in places.items() if name.startswith("data/")}
    return Layout("torch", content, storages, sums)


def _entries(file: IO[bytes], start: int, count: int) -> list[int]:
    """Where each entry of an archive's directory begins."""
    found = []
    for _ in range(count):
        file.seek(start)
        entry = file.read(46)
        if entry[:4] != b"PK\1\2":
            raise ValueError("its directory is broken")
        found.append(start)
        start += 46 + sum(struct.unpack("<HHH", entry[28:34]))
    return found


def _sum_beside(file: IO[bytes], member: zipfile.ZipInfo, start: int) -> int:
    """Where the CRC-32 of a member stands beside it: before its bytes, or after them with a mark of its own."""
    if not member.flag_bits & 8:
        return member.header_offset + 14
    after = start + member.file_size
    file.seek(after)
    return after + 4 if file.read(4) == b"PK\7\x08" else after


def _stream(file: IO[bytes]) -> Layout:
    magic, protocol, about = (_Reader(file).load() for _ in range(3))
    if magic != torch.serialization.MAGIC_NUMBER or protocol != torch.serialization.PROTOCOL_VERSION:
        raise ValueError("it is no stream of torch.save")
    if not about.get("little_endian", True):
        raise ValueError("its numbers are big-endian: save it on a little-endian machine")
    reader = _Reader(file)
    content = reader.load()
    storages = {}
    for key in _Reader(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        start = file.tell()
        storages[str(key)] = range(start, start + count * reader.kinds[str(key)].itemsize)
        file.seek(storages[str(key)].stop)
    return Layout("torch before 1.6", content, storages, {})


# What a pickle says


class StandIn:
    """Whatever a pickle names that is no plain value: nothing of it is run, and nothing kept."""

    def __new__(cls, *_arguments: object, **_named: object) -> StandIn:
        return super().__new__(cls)

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _name: object, _value: object) -> None:
        pass

    def append(self, _one: object) -> None:
        """What a pickle fills a list with."""

    def extend(self, _many: object) -> None:
        """The same, several at a time."""

    def add(self, _one: object) -> None:
        """What a pickle fills a set with."""


def _tensor(storage: object, offset: int, shape: Sequence[int], stride: Sequence[int], *_rest: object) -> object:
    if not isinstance(storage, Stored):
        return StandIn()
    return replace(storage, shape=tuple(shape), stride=tuple(stride), offset=storage.offset + offset)


def _typed_tensor(
    storage: object, offset: int, shape: Sequence[int], stride: Sequence[int], _grad: object, _hooks: object, dtype: Any
) -> object:
    found = _tensor(storage, offset, shape, stride)
    return replace(found, dtype=dtype) if isinstance(found, Stored) and isinstance(dtype, torch.dtype) else StandIn()


def _parameter(data: object, *_rest: object) -> object:
    return data


def _from_type(function: Callable[..., object], _kind: object, arguments: tuple[object, ...], _state: object) -> object:
    return function(*arguments)


NAMED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
}
"""What the names of a pickle stand for; any other for a `StandIn`."""


class _Reader(pickle._Unpickler):
    """Python's own unpickler, in which every name stands for one of `NAMED`, a kind of numbers, or nothing."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")
        self.kinds: dict[str, torch.dtype] = {}
        """What each storage holds."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage"):
            return STORAGES.get(name.removesuffix("Storage"), StandIn)
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        return NAMED.get(f"{module}.{name}", StandIn)

    def persistent_load(self, pid: Any) -> object:
        _, kind, key, _, _, *view = pid
        if not isinstance(kind, torch.dtype):
            return StandIn()
        self.kinds[str(key)] = kind
        offset = int(view[0][1]) if view and view[0] is not None else 0
        return Stored(str(key), kind, (), (), offset)
