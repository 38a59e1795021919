"""What the commands that save results/*.json share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efface.results import Environment

ROOT = Path(__file__).parents[1]


def machine_of(made: Environment) -> str:
    """The machine of a run in words."""
    threads = f"{made.threads} thread{'s' * (made.threads > 1)}"
    return f"{made.processor}, {threads}, Python {made.python}, torch {made.versions['torch']}"


def save(name: str, saved: dict[str, Any]) -> None:
    """Write results/NAME.json."""
    path = ROOT / "results" / f"{name}.json"
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
