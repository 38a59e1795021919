"""Pickles of lists, bytes, numbers and arrays of numbers, read without running what they name.

Every name in a pickle stands here for a function of this module that checks what it is given and builds bytes or an
array exactly as long as its data, so nothing of numpy's own unpickling is reached. Opcodes that real files do not need,
those that make or change other objects among them, are refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from efface.data.faces import Array

NUMBERS = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"}
"""Kinds of numbers an array may hold, by numpy's code."""
OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
    *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE"),
}


class Kind:
    """What numpy.dtype stands for: the kind of an array's numbers, or "O" where it is a list of objects."""

    def __init__(self, code: object, *_align_and_copy: object) -> None:
        self.code = "O" if word(code) in ("O", "O4", "O8") else word(code)
        if self.code not in {*NUMBERS, "O"}:
            raise pickle.UnpicklingError(f"it holds numbers of the kind {self.code!r}")

    def build(self, state: object) -> None:
        """Byte order and, for kinds that are no plain number, much that is refused."""
        if not isinstance(state, tuple) or len(state) < 5 or word(state[1]) not in ("<", "|", "="):
            raise pickle.UnpicklingError("it holds numbers in another byte order")
        if any(one is not None for one in state[2:5]):
            raise pickle.UnpicklingError("it holds arrays of parts")


class Rebuilt:
    """What numpy's `_reconstruct` stands for: an array whose content follows."""

    def __init__(self, *_kind_and_shape: object) -> None:
        self.content: Array | list[Any] | None = None

    def build(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it holds a broken array")
        _, shape, kind, by_column, content = state
        self.content = array_of(content, kind, shape, "F" if by_column else "C")


def ndarray(*_given: object) -> None:
    """What numpy.ndarray stands for: real files name it and never call it."""
    raise pickle.UnpicklingError("it holds an array without its content")


def array_of(
    content: object, kind: object, shape: object, order: object = "C", axes: object = None
) -> Array | list[Any]:
    """An array of numbers from exactly its bytes, or the list that an array of objects is; axes: with the order "K",
    where each axis of the array is among those of `shape`."""
    if not isinstance(kind, Kind) or not isinstance(shape, tuple) or len(shape) > 4:
        raise pickle.UnpicklingError("it holds a broken array")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise pickle.UnpicklingError("it holds an array of no shape")
    if kind.code == "O":
        if not isinstance(content, list) or shape != (len(content),):
            raise pickle.UnpicklingError("it holds a broken array of objects")
        return content
    dtype = np.dtype(kind.code).newbyteorder("<")
    if not isinstance(content, bytes) or len(content) != math.prod(shape) * dtype.itemsize:
        raise pickle.UnpicklingError(f"it holds an array of the shape {shape} without its content")
    numbers = np.frombuffer(content, dtype).reshape(shape, order="F" if word(order) == "F" else "C")
    if word(order) != "K" or axes is None:
        return numbers
    if not isinstance(axes, tuple) or sorted(axes) != list(range(len(shape))):
        raise pickle.UnpicklingError("it holds an array with other axes")
    return numbers.transpose(axes)


def scalar(kind: object, content: object) -> Any:
    """One number."""
    number = array_of(content, kind, ())
    return number[()] if isinstance(number, np.ndarray) else number


def encoded(text: object = b"", encoding: object = "latin1") -> bytes:
    """Bytes that older protocols hold as text, a character each."""
    if isinstance(text, str) and word(encoding) in ("latin1", "latin-1"):
        return text.encode("latin1")
    if isinstance(text, bytes):
        return text
    raise pickle.UnpicklingError("it holds bytes made of something else")


def word(code: object) -> str:
    """A short text, which Python 2 wrote as bytes."""
    return code.decode("latin1") if isinstance(code, bytes) else str(code)[:20]


STANDS_FOR: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): ndarray,
    ("numpy", "dtype"): Kind,
    ("numpy.core.multiarray", "_reconstruct"): Rebuilt,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy.core.numeric", "_frombuffer"): array_of,
    ("_codecs", "encode"): encoded,
    ("builtins", "bytearray"): encoded,
    ("builtins", "bytes"): encoded,
}
"""By the names that real files hold; numpy 2 says `_core`, Python 2 `__builtin__`."""


def _build(reader: pickle._Unpickler) -> None:
    """Hand its state to what was just made."""
    state = reader.stack.pop()  # type: ignore[attr-defined]
    made = reader.stack[-1]  # type: ignore[attr-defined]
    if not isinstance(made, (Kind, Rebuilt)):
        raise pickle.UnpicklingError("it changes an object")
    made.build(state)


class PlainUnpickler(pickle._Unpickler):
    """Python's own unpickler with all that is not in `OPCODES` and `STANDS_FOR` taken away."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{
            ord(one.code): pickle._Unpickler.dispatch[ord(one.code)]
            for one in pickletools.opcodes
            if one.name in OPCODES
        },
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
        pickle.BUILD[0]: _build,
    }

    def find_class(self, module: str, name: str) -> Any:
        plain = module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (plain, name) not in STANDS_FOR:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return STANDS_FOR[plain, name]


def read_plain_pickle(data: bytes) -> Any:
    """Lists, tuples, bytes, numbers and what is an array to `content_of`; any exception where a pickle is broken or
    holds more."""
    return PlainUnpickler(io.BytesIO(data), encoding="bytes").load()


def content_of(found: Any) -> Any:
    """The array, or the list, that was rebuilt; anything else as it is."""
    return found.content if isinstance(found, Rebuilt) else found
