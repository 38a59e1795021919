"""Memory that is freed stays where it is until it is handed back."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
from efface.memory import hand_back_memory, keep_freed_memory, memory_held

if sys.argv[1] == "kept":
    keep_freed_memory()
before = memory_held()

def step():
    return len([b"x" * (size << 20) for size in (1, 40, 3)])

step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
held = memory_held() - before
hand_back_memory()
print(faults, held, memory_held() - before)
"""
PAGES = 44 * 2**20 / 4096
"""Of one step."""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told to keep what is freed")
def test_what_is_freed_is_taken_again_and_handed_back_when_asked() -> None:
    found = {}
    for way in ("kept", "as ever"):
        command = [sys.executable, "-c", STEPS, way]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[way] = [int(one) for one in said.split()]
    faults, held, after = found["kept"]
    assert faults < PAGES, f"{faults} pages came anew in ten steps of {PAGES:.0f}"
    assert found["as ever"][0] > 5 * PAGES, "each step asks the system for its large pieces"
    assert held > 40 * 2**20
    assert after < 10 * 2**20


SERVED = """
import torch
from efface.memory import keep_freed_memory, memory_held
from efface.training.environment import deterministic_torch

keep_freed_memory()
before = memory_held()
with deterministic_torch(torch.device("cpu"), 1):
    torch.ones(40 << 20, dtype=torch.uint8)
    held = memory_held() - before
print(held, memory_held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told to keep what is freed")
def test_nothing_is_kept_when_the_work_is_done() -> None:
    said = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=True).stdout
    held, after = (int(one) for one in said.split())
    assert held > 30 * 2**20
    assert after < 20 * 2**20
