"""Whether a run is what it would become, told before torch is imported: by the state of every file it reads.

What makes two runs the same are hashes of content (`signatures.py`); computing them takes seconds. A file whose size,
place on the disk and times of change are what they were has the content it had, so a finished run keeps those beside
its results. Where one differs nothing is concluded: the hashes are compared then, as they are without this file.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import efface
from efface.errors import InputError
from efface.experiment.signatures import signature_of
from efface.files import read_json, write_text
from efface.plan.file import plain_plan
from efface.plan.tables import Plan, user_code

FILE = "finished.json"
RESULTS = ("results.json", "report.html")
PREFIXES = ("CUDA", "EFFACE", "MKL", "OMP", "OPENBLAS", "PYTORCH", "TORCH")
"""Variables of the environment on which numbers may depend begin so."""


def state_before(plans: Mapping[str, Plan], asked: Mapping[str, Any]) -> str | None:
    """Hash of the state of what a run of these plans would read: plans, options, packages, code and files.

    Every text in a plan that is a path counts as one, folders with all that is in them. None where more may be read
    than that: code of the user's own, links to folders, and processes that torchrun started.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1" or any(user_code(plan) for plan in plans.values()):
        return None
    plain = {name: plain_plan(plan) for name, plan in plans.items()}
    named = {Path(text) for text in texts_of(plain)}
    try:
        files = {str(path): list(states(path)) for path in sorted(named | {Path(str(efface.__file__)).parent})}
    except (OSError, ValueError):
        return None
    packages = sorted(f"{one.name} {one.version}" for one in distributions())
    variables = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}
    here = [os.getcwd(), platform.platform(), platform.node(), platform.python_version(), os.cpu_count()]
    return signature_of([plain, dict(asked), files, packages, variables, here])


def is_finished(out: Path, before: str | None) -> bool:
    """Whether the folder holds what a run left that began in this state (`state_before`)."""
    try:
        return before is not None and read_json(out / FILE, "state") == {"read": before, "left": _left(out)}
    except (InputError, OSError):
        return False


def remember(out: Path, before: str | None) -> None:
    """Keep what a run read, by its state before the run, and what it left."""
    if before is None:
        (out / FILE).unlink(missing_ok=True)
    else:
        write_text(out / FILE, json.dumps({"read": before, "left": _left(out)}) + "\n")


def _left(out: Path) -> list[list[Any]]:
    return [state(out / name) for name in RESULTS]


def _raised(error: OSError) -> None:
    raise error


def texts_of(plain: Any) -> Iterator[str]:
    """Every text in plain data that could name a file, keys aside."""
    if isinstance(plain, dict):
        plain = list(plain.values())
    if isinstance(plain, list):
        for one in plain:
            yield from texts_of(one)
    elif isinstance(plain, str) and plain and "\0" not in plain:
        yield plain


def states(path: Path) -> Iterator[list[Any]]:
    """Name, size, number and times of change of a file, or of every file below a folder; nothing where there is none.

    Raises ValueError for a link to a folder, or to nothing, below it.
    """
    if not path.is_dir():
        if path.exists():
            yield state(path)
        return
    for folder, folders, names in os.walk(path, onerror=_raised):
        folders[:] = sorted(one for one in folders if one != "__pycache__")
        if any(os.path.islink(os.path.join(folder, one)) for one in folders):
            raise ValueError(f"{folder} holds a link to a folder")
        for name in sorted(names):
            yield state(Path(folder, name))


def state(path: Path) -> list[Any]:
    """Of one file."""
    known = path.stat()
    return [str(path), known.st_size, known.st_ino, known.st_mtime_ns, known.st_ctime_ns]
