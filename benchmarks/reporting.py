"""What benchmarks share: where their numbers come from, a number over repetitions, and the file of their tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from efface.training.environment import environment

ROOT = Path(__file__).resolve().parents[1]


def _checked_out() -> str:
    git = ["git", "rev-parse", "HEAD"]
    return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


COMMIT = _checked_out()
"""What is checked out when a benchmark starts, 40 hexadecimal digits."""


def machine(about: str) -> str:
    """This machine in words; about: its threads or cores."""
    made = environment(torch.device("cpu"), 1)
    return f"{made.processor}, {about}, Python {made.python}, torch {made.versions['torch']}"


def spread(values: Sequence[float], style: str = ".2f") -> str:
    """The middle one, the smallest and the largest."""
    return f"{np.median(values):{style}} [{min(values):{style}}, {max(values):{style}}]"


def write_results(
    name: str, title: str, *, machine: str, limits: Sequence[str], tables: Sequence[Mapping[str, Any]]
) -> None:
    """Write results/NAME.json."""
    saved = {
        "title": title,
        "commit": COMMIT,
        "note": "Saved by the command beside the table.",
        "machine": machine,
        "known": "Limits of these numbers:",
        "limits": list(limits),
        "tables": list(tables),
    }
    path = ROOT / "results" / f"{name}.json"
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)
