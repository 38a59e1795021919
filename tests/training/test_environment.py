"""The machine is held still and put back; the bill is of the call alone."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.errors import InputError
from efface.training.environment import Meter, deterministic_torch, device_named, environment

CPU = torch.device("cpu")


def test_state_is_put_back_even_after_an_error() -> None:
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.random.get_rng_state())

    def fail() -> None:
        with deterministic_torch(CPU, 1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == 1
            torch.rand(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    after = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.random.get_rng_state())
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_seeds_decide_the_random_numbers() -> None:
    with deterministic_torch(CPU, 1, seed=5):
        first = torch.rand(3)
    with deterministic_torch(CPU, 1, seed=5):
        assert torch.equal(first, torch.rand(3))


def test_the_meter_sees_time_and_memory() -> None:
    with Meter(CPU) as meter:
        held = np.ones(256 * 2**20, np.uint8)  # far more than what other tests may hand back meanwhile
        time.sleep(0.1)
        del held
    assert meter.seconds >= 0.1
    assert meter.cpu_seconds < meter.seconds, "a sleep costs none"
    assert 200 <= meter.peak_memory_mib <= 400


def test_cpu_seconds_are_of_all_threads_and_of_processes_that_were_started() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    with Meter(CPU) as meter:
        subprocess.run([sys.executable, "-S", "-c", burn], check=True)
    assert meter.cpu_seconds >= 0.25

    def until(end: float) -> None:
        while time.thread_time() < end:
            pass

    with Meter(CPU) as meter:
        threads = [threading.Thread(target=until, args=(0.15,)) for _ in range(2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert 0.3 <= meter.cpu_seconds <= 0.6


@pytest.mark.skipif(sys.platform != "linux", reason="freed memory is handed back where glibc is")
def test_memory_that_an_earlier_stage_freed_counts_for_the_next() -> None:
    peaks = []
    for _ in range(2):
        with Meter(CPU) as meter:
            parts = [np.ones(2**16, np.uint8) for _ in range(3000)]  # small enough to be kept for later when freed
            last = np.ones(2**16, np.uint8)  # ... as all below the last that is in use are
            time.sleep(0.1)
            del parts
        peaks.append(meter.peak_memory_mib)
        assert len(last)
    assert min(peaks) > 150, peaks


def test_mapped_files_are_not_memory_of_a_stage(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(100 * 2**20))
    with Meter(CPU) as meter:
        seen = int(np.memmap(tmp_path / "large", np.uint8, "r")[::4096].sum())
    assert seen == 0
    assert meter.peak_memory_mib < 50


def test_devices() -> None:
    assert device_named("cpu") == CPU
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        device_named("abacus")


def test_the_environment_says_what_a_number_may_depend_on() -> None:
    found = environment(CPU, 2)
    assert found.versions["torch"] == torch.__version__.split("+")[0] or found.versions["torch"] == torch.__version__
    assert (found.threads, found.device, found.deterministic) == (2, "cpu", True)
