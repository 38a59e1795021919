"""Draws docs/images/packages.svg: the packages of efface in the layers that tests/test_layers.py holds them to.

python docs/draw_packages.py [--check]
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "packages.svg"
WIDTH, STEP, BOX = 740, 46, 34
LEFT_OUT = {"__init__", "__main__"}


def layers() -> list[list[str]]:
    """Names of packages and modules, the lowest layer first, as the test has them."""
    tree = ast.parse((ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8"))
    for one in tree.body:
        if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "LAYERS":
            found: list[set[str]] = ast.literal_eval(one.value)
            return [sorted(layer - LEFT_OUT) for layer in found if layer - LEFT_OUT]
    raise LookupError("tests/test_layers.py has no LAYERS")


def drawn() -> str:
    """The picture as SVG: a line of boxes for each layer, the highest on top, and an arrow down."""
    rows = list(reversed(layers()))
    height = STEP * len(rows) + 60
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="16">',
        "<title>Packages of efface by layer: each imports from its own layer and those below</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="5" refY="9" markerWidth="8" markerHeight="8">'
        '<path d="M1 0 L5 9 L9 0 Z" fill="#555555"/></marker></defs>',
        f'<line x1="24" y1="20" x2="24" y2="{height - 48}" stroke="#555555" stroke-width="2" marker-end="url(#tip)"/>',
        f'<text x="12" y="{height - 18}" fill="#555555" font-size="16">imports go down, or stay in a layer</text>',
    ]
    for place, names in enumerate(rows):
        top, left = 14 + STEP * place, 48.0
        letters = [len(name) + 4 for name in names]  # a box is as wide as its name needs
        for name, count in zip(names, letters, strict=True):
            width = (WIDTH - 60) * count / sum(letters)
            middle = left + (width - 8) / 2
            lines += [
                f'<rect x="{left:g}" y="{top}" width="{width - 8:g}" height="{BOX}" rx="5" fill="#e8eefc" '
                'stroke="#3f51b5"/>',
                f'<text x="{middle:g}" y="{top + 23}" text-anchor="middle" fill="#1a1a1a">{name}</text>',
            ]
            left += width
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PICTURE.write_text(drawn(), encoding="utf-8")
    elif PICTURE.read_text(encoding="utf-8") != drawn():
        sys.exit("docs/images/packages.svg would be drawn otherwise now: run python docs/draw_packages.py")
