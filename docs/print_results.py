"""Prints the tables of results/*.json into docs/results/*.md and docs/explanation/*.md, between the markers there.

python docs/print_results.py [--check]

`<!-- limits: eyes -->` is what to know before any table of results/eyes.json is read, `<!-- table: eyes/one source -->`
is one of its tables with the commands that made it.
"""

from __future__ import annotations

import json
from typing import Any

from printing import DOCS, print_pages, table

NUMBERS = 60
"""A table none of whose cells is longer than this holds numbers, which stay on one line."""


def printed(what: str, name: str) -> str:
    """The limits of a file, or one of its tables as "file/table". Raises KeyError for one that does not exist."""
    file, _, wanted = name.partition("/")
    results = json.loads((DOCS.parent / "results" / f"{file}.json").read_text(encoding="utf-8"))
    if what == "limits":
        return limits(file, results)
    return table_of({one["name"]: one for one in results["tables"]}[wanted], results)


def limits(file: str, results: dict[str, Any]) -> str:
    """A box that opens a page: where its numbers are from, and what limits them."""
    made = f"commit `{results['commit'][:7]}`, {results['machine']}"
    lines = [
        f"Printed from `results/{file}.json`: {made}. {results['note']}",
        "",
        results.get("known", "A later review found these limits of the instrument that made them:"),
        "",
        *(f"* {limit}" for limit in results["limits"]),
    ]
    return '!!! warning "Read this before the tables"\n\n' + "\n".join(f"    {line}".rstrip() for line in lines)


def table_of(one: dict[str, Any], results: dict[str, Any]) -> str:
    """One table as Markdown: its caption, the commands that made it, and every row."""
    about = [
        *([f"`{one['plan']}`"] if "plan" in one else []),
        *([f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"] if (seeds := one.get("seeds")) else []),
        one.get("machine", results["machine"]),
        *([f"commit `{one['commit'][:7]}`"] if one.get("commit", results["commit"]) != results["commit"] else []),
    ]
    short = all(len(cell) <= NUMBERS for row in one["rows"] for cell in row)
    opened, closed = ('<div class="numbers" markdown>\n\n', "\n\n</div>") if short else ("", "")
    return "\n".join(
        [
            f"### {one['caption']}",
            "",
            "; ".join(about),
            "",
            "```sh",
            *one["command"],
            "```",
            "",
            opened + table(one["columns"], one["rows"]) + closed,
        ]
    )


if __name__ == "__main__":
    print_pages([DOCS / "results", DOCS / "explanation"], printed, "print_results.py")
