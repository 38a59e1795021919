"""People under pseudonyms: keyed hashes, under a key that stays in the run's folder with its owner."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efface.data.faces import Array
from efface.files import create_private


def key_of(out: Path) -> bytes:
    """This run's key: drawn once, readable by its owner only; it never stands in results or report."""
    path = out / "salt"
    create_private(path, secrets.token_hex(32).encode("ascii"))
    return path.read_bytes()


def pseudonym(name: str, key: bytes) -> str:
    """Twelve hexadecimal digits of the name's HMAC-SHA256 under the key."""
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:12]


def pseudonyms(names: Sequence[str] | Array, key: bytes) -> Array:
    """(n,) the pseudonym of each name."""
    known, place = np.unique(np.asarray(names, str), return_inverse=True)
    hidden: Array = np.array([pseudonym(name, key) for name in known.tolist()] or [""], str)[place]
    return hidden
