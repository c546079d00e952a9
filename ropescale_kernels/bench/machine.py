"""The machine of a run: versions, processor, device, settings, sources."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .._version import __version__
from ..diagnostics.build_info import build_info
from ..ops.implementations import load_backend
from .sources import ROOT, sources_sha256

# glibc gives large blocks back to the system at each free. Page faults of the next allocation then
# cost more than the work. With these settings glibc keeps the blocks.
RETAIN = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def malloc_setting() -> str:
    """Return the malloc setting of the environment: "default", "retain" or "custom"."""
    environment = dict(os.environ)
    plain = without_malloc(environment)
    if environment == plain:
        return "default"
    return "retain" if environment == plain | RETAIN else "custom"


def without_malloc(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that set glibc's malloc."""
    plain = {k: v for k, v in environment.items() if not k.startswith("MALLOC_")}
    tunables = plain.get("GLIBC_TUNABLES", "").split(":")
    others = [t for t in tunables if not t.startswith("glibc.malloc.")]
    if others != tunables:
        plain["GLIBC_TUNABLES"] = ":".join(others)
        if not others:
            del plain["GLIBC_TUNABLES"]
    return plain


def machine(device: torch.device) -> dict[str, Any]:
    """Return the properties of the machine and of the device, as they are before the first case."""
    info: dict[str, Any] = {
        "ropescale_kernels": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device.type,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "impl": os.environ.get("ROPESCALE_IMPL") or "auto",
        "isa": _isa_in_force(),
        "compiler": build_info().get("compiler"),
        # Threads wait for one another, so a little other work on the cores slows them a lot.
        "load": round(os.getloadavg()[0], 1),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        info |= {
            "gpu": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    if (ROOT / "csrc").is_dir():
        info["sources_sha256"] = sources_sha256()
    return info


def name_of(device: torch.device) -> str:
    """Return the name of the card, or of the processor if the tensors are on the host."""
    if device.type == "cuda":
        name: str = torch.cuda.get_device_properties(device).name
        return name
    return cpu_name()


def _isa_in_force() -> str | None:
    if load_backend("cpu").unavailable() is not None:
        return None
    isa: str = importlib.import_module("ropescale_kernels._C").cpu_isa()
    return isa


@cache
def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
