"""Running cases, and what is kept of it: rows for a table, and a JSON report."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .._dispatch import load_backend
from .._version import __version__
from ..build import build_info
from .baselines import COMPILED, entries, error_against, truth_of
from .cases import Case, make_inputs
from .timing import interleave

# glibc gives large blocks back to the system at each free, and page faults then cost more than the
# work. With these it keeps them.
RETAIN = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


@dataclass(frozen=True)
class Row:
    """One measured entry of one case; times in microseconds.

    Attributes:
        x_copy: Time over the time of the copy of the same bytes in the same run; for an
            out-of-place entry, of the clone.
        speedup_eager: Transformers' eager time over this one, or None where it was not run.
        speedup_compile: The time of the faster torch.compile over this one, or None.
        error: Largest absolute difference from float64, or None for a copy.
    """

    case: str
    dtype: str
    tokens: int
    entry: str
    bytes: int
    p50: float
    p20: float
    p80: float
    gb_per_s: float
    x_copy: float
    speedup_eager: float | None
    speedup_compile: float | None
    error: float | None


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


def measure(
    case: Case,
    *,
    seconds: float,
    compiled: bool,
    transformers: bool,
    progress: Callable[[], object] = lambda: None,
) -> list[Row]:
    """Check every entry's answer on a case, then time them against one another."""
    inputs = make_inputs(case)
    found = entries(inputs, compiled=compiled, transformers=transformers)
    truth = truth_of(inputs)
    errors = {e.name: error_against(e.result(), truth) if e.result else None for e in found}
    del truth
    times = interleave({e.name: e.call for e in found}, seconds=seconds, progress=progress)
    eager = times.get("Transformers eager")
    compilations = [times[name].p50 for name in COMPILED if name in times]
    fused = min(compilations, default=None)
    rows = []
    for entry in found:
        t = times[entry.name]
        floor = times["copy" if entry.name in ("copy", "ours, in place") else "clone"]
        rows.append(
            Row(
                case=case.name,
                dtype=case.dtype,
                tokens=case.seqlen,
                entry=entry.name,
                bytes=case.bytes,
                p50=t.p50,
                p20=t.p20,
                p80=t.p80,
                gb_per_s=case.bytes / t.p50 / 1e3,
                x_copy=t.p50 / floor.p50,
                speedup_eager=eager.p50 / t.p50 if eager else None,
                speedup_compile=fused / t.p50 if fused else None,
                error=errors[entry.name],
            )
        )
    return rows


def machine() -> dict[str, Any]:
    """Describe what was measured on: versions, processor, threads, settings, sources."""
    info: dict[str, Any] = {
        "ropescale_kernels": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "impl": os.environ.get("ROPESCALE_IMPL") or "auto",
        "isa": _isa_in_force(),
        "compiler": build_info().get("compiler"),
        "malloc": malloc_setting(),
        # Other work on the cores slows threads that wait for one another out of all proportion.
        "load": round(os.getloadavg()[0], 1),
    }
    sources = Path(__file__).resolve().parents[2] / "csrc"
    if sources.is_dir():
        digest = hashlib.sha256()
        for path in sorted(sources.rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
        info["csrc_sha256"] = digest.hexdigest()
    return info


def _isa_in_force() -> str | None:
    if load_backend("cpu").unavailable() is not None:
        return None
    isa: str = importlib.import_module("ropescale_kernels._C").cpu_isa()
    return isa


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def write_json(path: Path, about: dict[str, Any], rows: Iterable[Row]) -> None:
    """Write a report: `machine` as it was before the first case, and `rows`."""
    report = {"machine": about, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=1) + "\n")
