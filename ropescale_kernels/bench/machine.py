"""What was measured on: versions, processor, device, settings, sources."""

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

# glibc gives large blocks back to the system at each free, and page faults then cost more than the
# work. With these it keeps them.
RETAIN = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def malloc_setting() -> str:
    """Say what the environment asks of malloc: "default" nothing, "retain", or "custom"."""
    environment = dict(os.environ)
    plain = without_malloc(environment)
    if environment == plain:
        return "default"
    return "retain" if environment == plain | RETAIN else "custom"


def without_malloc(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment without what sets glibc's malloc."""
    plain = {k: v for k, v in environment.items() if not k.startswith("MALLOC_")}
    tunables = plain.get("GLIBC_TUNABLES", "").split(":")
    others = [t for t in tunables if not t.startswith("glibc.malloc.")]
    if others != tunables:
        plain["GLIBC_TUNABLES"] = ":".join(others)
        if not others:
            del plain["GLIBC_TUNABLES"]
    return plain


def machine(device: torch.device) -> dict[str, Any]:
    """Describe what is measured on, as it is before the first case."""
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
        # Other work on the cores slows threads that wait for one another out of all proportion.
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
    """Name the card, or the processor where the tensors are on the host."""
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
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
