"""From a run's folder to one HTML page that needs nothing else: it draws and words what was saved."""

from __future__ import annotations

from pathlib import Path

from efface.files import write_text
from efface.report.page import page
from efface.report.saved import read


def write(out: Path, *, with_faces: bool = True) -> Path:
    """Write `out/report.html` from `out/results.json` and `out/evidence`, whole or not at all; with or without
    faces."""
    return write_text(out / "report.html", page(read(out), out, with_faces=with_faces))
