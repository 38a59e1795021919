"""What benchmarks say of where their numbers come from: the commit of the code, and the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from efface.training.environment import environment


def _checked_out() -> str:
    git = ["git", "rev-parse", "HEAD"]
    return subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


COMMIT = _checked_out()
"""What is checked out when a benchmark starts, 40 hexadecimal digits."""


def machine(about: str) -> str:
    """This machine in words; about: its threads or cores."""
    made = environment(torch.device("cpu"), 1)
    return f"{made.processor}, {about}, Python {made.python}, torch {made.versions['torch']}"
