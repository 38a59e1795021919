"""How fast synthetic faces are drawn: faces per second, median of five calls.

python benchmarks/render.py [--people 750] [--size 64] [--colour]
"""

import argparse
import os
import platform
import statistics
import sys
import time

import numpy as np

from efface.datasets.synthetic import synthetic


def faces_per_second(people: int, side: int, colour: bool, calls: int = 5) -> list[float]:
    """The rate of each call, four photos a person, after one call that is not counted."""
    rates = []
    for call in range(calls + 1):
        start = time.perf_counter()
        face_table = synthetic(people=people, photos_per_person=4, size=(side, side), colour=colour, seed=call)
        rates.append(len(face_table) / (time.perf_counter() - start))
    return rates[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=750)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--colour", action="store_true")
    given = parser.parse_args()
    rates = faces_per_second(given.people, given.size, given.colour)
    print(
        f"{statistics.median(rates):,.0f} faces/s (median of {len(rates)}; {min(rates):,.0f} to {max(rates):,.0f}), "
        f"{given.size}x{given.size} {'colour' if given.colour else 'grey'}, {given.people * 4} faces a call, "
        f"{os.cpu_count()} threads, numpy {np.__version__}, Python {sys.version.split()[0]}, {platform.machine()}"
    )


if __name__ == "__main__":
    main()
