"""The machine is held still and put back; the bill is of the call alone."""

import time

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
    assert 200 <= meter.peak_memory_mib <= 400


def test_devices() -> None:
    assert device_named("cpu") == CPU
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        device_named("abacus")


def test_the_environment_says_what_a_number_may_depend_on() -> None:
    found = environment(CPU, 2)
    assert found.versions["torch"] == torch.__version__.split("+")[0] or found.versions["torch"] == torch.__version__
    assert (found.threads, found.device, found.deterministic) == (2, "cpu", True)
