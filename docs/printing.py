"""Pages with marked parts that a script prints: `<!-- WHAT: NAME -->` up to the next `<!-- end -->`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- (\w+): (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def print_pages(folders: Sequence[Path], printed: Callable[[str, str], str], script: str) -> None:
    """Print every marked part of the pages of these folders by `printed(what, name)`. With --check on the command line
    nothing is written, and pages that would change are named on the way out, with exit code 1."""
    stale = []
    for page in [page for folder in folders for page in sorted(folder.glob("*.md"))]:
        now = page.read_text(encoding="utf-8")
        new = MARKED.sub(lambda found: f"{found[1]}\n{printed(found[2], found[3])}\n\n{found[4]}", now)
        if new != now:
            stale.append(page.relative_to(DOCS).as_posix())
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)} would be printed otherwise now: run python docs/{script}")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(in_table, line))} |" for line in lines)


def in_table(cell: str) -> str:
    """Text on one line, without what would end a cell."""
    return " ".join(cell.split()).replace("|", "\\|")
