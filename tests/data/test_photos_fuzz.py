"""Thousands of damaged photos: each is read or refused in one line, within bounds of time and memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT

MUTATIONS = 3000
"""Of each photo."""
SECONDS, MEBIBYTES = 5.0, 2048
"""The longest that one may take, and the most memory that the process may have: a photo may be of 134 megapixels."""

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
COLOUR = Image.fromarray(PIXELS)
GREY, PALETTE, INKS = COLOUR.convert("L"), COLOUR.convert("P"), COLOUR.convert("CMYK")
DEEP, SHARES = (
    Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 257),
    Image.fromarray(PIXELS[:, :, 0] / np.float32(255)),
)
MORE = {"save_all": True, "append_images": [COLOUR.rotate(90), COLOUR]}
TURNED = Image.Exif()
TURNED[0x0112] = 6

SEEDS: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "jpeg": (COLOUR, "JPEG", {"exif": TURNED.tobytes()}),
    "jpeg, progressive": (COLOUR, "JPEG", {"progressive": True}),
    "jpeg, four inks": (INKS, "JPEG", {}),
    "mpo": (COLOUR, "MPO", MORE),
    "png": (COLOUR, "PNG", {"exif": TURNED.tobytes()}),
    "png, 16 bits": (DEEP, "PNG", {}),
    "png, palette": (PALETTE, "PNG", {"transparency": 3}),
    "png, alpha": (COLOUR.convert("RGBA"), "PNG", {}),
    "png, animated": (COLOUR, "PNG", MORE),
    "webp": (COLOUR, "WEBP", {}),
    "webp, lossless": (COLOUR.convert("RGBA"), "WEBP", {"lossless": True}),
    "webp, animated": (COLOUR, "WEBP", MORE),
    "tiff": (COLOUR, "TIFF", {}),
    "tiff, lzw": (COLOUR, "TIFF", {"compression": "tiff_lzw"}),
    "tiff, deflate": (COLOUR, "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff, jpeg": (COLOUR, "TIFF", {"compression": "jpeg"}),
    "tiff, fax": (COLOUR.convert("1"), "TIFF", {"compression": "group4"}),
    "tiff, 16 bits": (DEEP, "TIFF", {}),
    "tiff, fractions": (SHARES, "TIFF", {}),
    "pgm": (GREY, "PPM", {}),
    "ppm": (COLOUR, "PPM", {}),
    "pfm": (SHARES, "PPM", {}),
    "bmp": (COLOUR, "BMP", {}),
    "bmp, palette": (PALETTE, "BMP", {}),
    "gif": (PALETTE, "GIF", {}),
    "gif, animated": (PALETTE, "GIF", MORE),
    "avif": (COLOUR, "AVIF", {"exif": TURNED.tobytes()}),
    "jpeg2000": (COLOUR, "JPEG2000", {}),
    "heic": (COLOUR, "HEIF", {"exif": TURNED.tobytes()}),
}

EDGES = [b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x80\0", b"\xff\xff", b"\0\0", b"\x80"]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The file with one to five changes, half of them in its first 64 bytes."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(max(1, min(len(changed), 64 if rng.random() < 0.5 else len(changed)))))
        span = int(rng.integers(1, 16))
        how = rng.integers(6)
        if how == 0:
            changed[at : at + 1] = bytes([rng.integers(256)])
        elif how == 1:
            edge = EDGES[rng.integers(len(EDGES))]
            changed[at : at + len(edge)] = edge
        elif how == 2:
            changed[at:at] = changed[at : at + span]
        elif how == 3:
            del changed[at : at + span]
        elif how == 4:
            other = int(rng.integers(max(1, len(changed))))
            changed[at : at + span] = changed[other : other + span]
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


READ = """
import json, resource, sys, time
sys.path[:0] = sys.argv[2:4]
from pathlib import Path
import numpy as np
from efface.data.photos import decode
from efface.errors import InputError
from test_photos_fuzz import MUTATIONS, mutated

data, rng = Path(sys.argv[1]).read_bytes(), np.random.default_rng(0)
decode(data, "the photo itself", upright=True)
counts, longest = {"read": 0, "refused": 0}, 0.0
for number in range(MUTATIONS):
    damaged = mutated(data, rng)
    Path(sys.argv[1]).with_suffix(".last").write_bytes(damaged)  # what ended the process, should one do so
    start = time.perf_counter()
    try:
        assert decode(damaged, "photo", upright=number % 2 == 0).mode == "RGB"
        counts["read"] += 1
    except InputError as error:
        assert "\\n" not in str(error)
        counts["refused"] += 1
    longest = max(longest, time.perf_counter() - start)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(counts | {"longest": longest, "memory": memory}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_photo_is_read_or_refused(tmp_path: Path, name: str) -> None:
    """In a process of its own, so that one that a decoder ends is a failure, too."""
    picture, kind, settings = SEEDS[name]
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    (tmp_path / "photo").write_bytes(buffer.getvalue())
    places = [str(tmp_path / "photo"), str(Path(__file__).parent), str(ROOT / "tests")]
    done = subprocess.run([sys.executable, "-c", READ, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["read"] + found["refused"] == MUTATIONS
    assert found["refused"] > MUTATIONS / 20
    assert found["longest"] < SECONDS
    assert found["memory"] < MEBIBYTES
