"""The machine a run stands on: its device and threads held still, its description, and what a call costs on it."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any, get_args

import torch
from threadpoolctl import threadpool_info, threadpool_limits

import efface
from efface.distributed import processes
from efface.errors import InputError, refusing
from efface.memory import hand_back_memory, memory_held
from efface.results import Environment
from efface.settings import AskedPrecision, Precision

MOST_THREADS = 1024
FILLING: Any = torch.utils.deterministic
"""Whether torch fills memory that it has not written yet, which finds faults and takes a tenth of a training's time."""


def device_named(name: str) -> torch.device:
    """`auto` (the first accelerator, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`; InputError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    with refusing(f"device '{name}' cannot be used"):
        device = torch.device(name)
        torch.zeros(1, device=device)
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device '{name}' cannot be used: expected auto, cpu, cuda, cuda:1 or mps")
    return device


def precision_on(device: torch.device, asked: AskedPrecision) -> Precision:
    """What networks compute with on a device; `auto`: bf16 where it has instructions for it, else fp32. InputError
    where it has none for what is asked."""
    if asked not in (known := get_args(AskedPrecision)):
        raise InputError(f"precision = '{asked}' is unknown: expected one of {', '.join(known)}")
    if asked == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    if asked == "bf16" and not computes_bf16(device):
        raise InputError(
            f"precision = 'bf16' needs a device with instructions for it, and '{device}' here has none: take 'fp32' or "
            "'auto'"
        )
    if asked == "fp16" and device.type != "cuda":
        raise InputError(f"precision = 'fp16' is for GPUs, and the device is '{device}': take 'bf16', 'fp32' or 'auto'")
    return asked


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; where it has not, computing with it is slower than with fp32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(_cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"})


def _cpu_features() -> frozenset[str]:
    """What Linux says that the processor can do; nothing elsewhere."""
    return frozenset(_told_of_cpu("flags").split() + _told_of_cpu("Features").split())


def check_threads(threads: int) -> None:
    """Raise InputError for a number of CPU threads that no machine has."""
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads is {threads}: expected 1 to {MOST_THREADS}")


@contextmanager
def deterministic_torch(device: torch.device, threads: int, seed: int = 0) -> Iterator[None]:
    """Deterministic algorithms, a fixed number of threads and random numbers of our own; all put back after, and memory
    that was freed meanwhile handed back.

    They are asked for by the debug mode: `use_deterministic_algorithms` does the same, and imports torch's compiler.
    """
    before = (
        torch.get_deterministic_debug_mode(),
        torch.get_num_threads(),
        FILLING.fill_uninitialized_memory,
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
        FILLING.fill_uninitialized_memory = False
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        try:
            with threadpool_limits(threads, user_api="blas"):
                yield
        finally:
            torch.set_deterministic_debug_mode(before[0])
            torch.set_num_threads(before[1])
            FILLING.fill_uninitialized_memory = before[2]
            hand_back_memory()


def environment(device: torch.device, threads: int) -> Environment:
    """What a number may depend on beside the plan."""
    with threadpool_limits(threads, user_api="blas"):
        blas = [one for one in threadpool_info() if one["user_api"] == "blas"]
    return Environment(
        efface=efface.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        versions={name: version(name) for name in ("torch", "numpy", "scipy", "pandas", "pillow")},
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        threads=threads,
        processes=processes().count,
        blas=sorted({f"{one['internal_api']} {one['version']}, {one['num_threads']} threads" for one in blas}),
        deterministic=device.type == "cpu",
    )


def _processor() -> str:
    return _told_of_cpu("model name") or platform.processor() or platform.machine()


def _told_of_cpu(name: str) -> str:
    """What Linux says under a name of the first processor; nothing elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.partition(":")[0].strip() == name:
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


class Meter:
    """What runs inside it, in wall seconds, CPU seconds and peak memory.

    CPU seconds are those of all threads, and of processes that were started and ended meanwhile: what else runs on the
    machine does not show in them. On the CPU memory is what the process holds, looked at every 20 ms, above what it
    held at the start, when whatever had been freed before was handed back; on a GPU it is the allocator's own peak.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.peak_memory_mib = 0.0

    def __enter__(self) -> Meter:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            hand_back_memory()
            self._before = self._peak = memory_held()
            self._stopped = threading.Event()
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        self._start, self._cpu_start = time.perf_counter(), cpu_time()
        return self

    def _watch(self) -> None:
        while not self._stopped.wait(0.02):
            self._peak = max(self._peak, memory_held())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds, self.cpu_seconds = time.perf_counter() - self._start, cpu_time() - self._cpu_start
        if self.device.type == "cuda":
            self._peak = torch.cuda.max_memory_allocated(self.device)
        else:
            self._stopped.set()
            self._watcher.join()
            self._peak = max(self._peak, memory_held())
        self.peak_memory_mib = (self._peak - self._before) / 2**20

    @property
    def bill(self) -> dict[str, float]:
        """What was measured, by its names in results."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_memory_mib": self.peak_memory_mib,
        }


def cpu_time() -> float:
    """CPU seconds of this process so far, all threads, and of all processes that it started and that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system
