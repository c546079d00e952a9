"""What can run here, what cannot, and why: the facts behind `ropescale doctor`.

Needs no torch and no compiled extension; a probe that fails is itself a finding.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ._version import __version__
from .build import build_info

OK, NOTE, PROBLEM = "ok", "note", "problem"
_VARIABLES = {
    "ROPESCALE_IMPL": "overrides impl='auto'",
    "ROPESCALE_CPU_ISA": "limits the instruction set",
    "ROPESCALE_CUDA": "read when building",
    "ROPESCALE_SANITIZE": "read when building",
    "ROPESCALE_PEERS": "folder of other packages' kernels, for the bench",
    "ROPESCALE_REQUIRE_GPU": "tests fail where one for a GPU is skipped",
    "TRITON_INTERPRET": "Triton kernels are interpreted",
    "OMP_NUM_THREADS": "threads of torch and of the kernels",
}
_EXTRAS = {
    "transformers": "configs, and a row of the bench",
    "matplotlib": "bench --plot",
    "triton": "the triton implementation, torch.compile on a GPU",
    "onnxruntime": "a row of the bench",
    "liger-kernel": "a row of the bench",
    "flashinfer-python": "a row of the bench",
    "sglang": "a row of the bench",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        topic: What it belongs to: "package", "torch", "implementations" and so on.
        name: What was looked at.
        status: "ok", "note" (worth knowing) or "problem" (something will not work).
        text: What was found, and what to do about it.
    """

    topic: str
    name: str
    status: str
    text: str


def examine() -> list[Finding]:
    """Look at everything that decides what runs.

    Returns:
        Findings, by topic.
    """
    found: list[Finding] = []
    for topic, probe in _PROBES.items():
        try:
            found += [Finding(topic, *line) for line in probe()]
        except Exception as error:
            # Whatever is broken here is what the caller wants to know.
            found.append(Finding(topic, "probe", PROBLEM, f"{type(error).__name__}: {error}"))
    return found


def choice() -> str:
    """Say in a sentence what impl="auto" takes."""
    try:
        reasons = importlib.import_module("ropescale_kernels._dispatch").available_impls()
    except Exception as error:
        return f"nothing can run: {error}"
    runs = [name for name, reason in reasons.items() if reason is None]
    on_cpu = next((name for name in ("cpu", "torch") if name in runs), "nothing")
    on_gpu = next((name for name in ("cuda", "triton", "torch") if name in runs), "nothing")
    import torch

    if not torch.cuda.is_available():
        return f"impl='auto' takes {on_cpu} for CPU tensors; there is no CUDA device"
    return f"impl='auto' takes {on_cpu} for CPU tensors and {on_gpu} for CUDA tensors"


_Line = tuple[str, str, str]


def _package() -> Iterator[_Line]:
    here = Path(__file__).resolve().parent
    kind = "a source checkout" if (here.parent / "setup.py").is_file() else "an installed copy"
    yield "ropescale_kernels", OK, f"{__version__}, {kind} at {here}"
    installed = _version_of("ropescale_kernels")
    if installed not in (None, __version__):
        yield "installed", NOTE, f"version {installed} is installed, {__version__} is imported"
    yield "python", OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}"


def _torch() -> Iterator[_Line]:
    try:
        import torch
    except ModuleNotFoundError:
        yield (
            "torch",
            PROBLEM,
            "not installed; install the build for your machine, it is no dependency",
        )
        return
    cuda = torch.version.cuda
    yield "torch", OK, f"{torch.__version__}, " + (f"CUDA {cuda}" if cuda else "a CPU build")
    yield "threads", OK, f"{torch.get_num_threads()} of {os.cpu_count()} cores"


def _extension() -> Iterator[_Line]:
    info = build_info()
    if info["extension"] is not None:
        yield (
            "compiled extension",
            PROBLEM,
            (
                f"does not import: {info['extension']}; "
                "`pip install .` builds it with a C++17 compiler"
            ),
        )
        return
    built = ", ".join(info["cpu_isas"])
    yield "compiled extension", OK, f"built by {info['compiler']} for {built}"
    extension = importlib.import_module("ropescale_kernels._C")
    best = info["best_cpu_isa"]
    yield (
        "instruction set",
        OK,
        f"{extension.cpu_isa()} in force, {best} is the best of this processor",
    )
    way = "the DLPack exchange table" if extension.uses_dlpack() else "data pointers"
    yield "tensors cross by", OK, way
    yield from _openmp()
    cuda = info["cuda"]
    reason = f"none: {info['cuda_reason']}" if cuda is None else str(cuda)
    yield "CUDA kernels", OK if cuda else NOTE, reason


def _openmp() -> Iterator[_Line]:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        return
    paths = (line.split()[-1] for line in maps.read_text().splitlines() if "/" in line)
    runtimes = sorted(
        {p for p in paths if Path(p).name.startswith(("libgomp", "libiomp", "libomp"))}
    )
    if runtimes:
        status = OK if len(runtimes) == 1 else NOTE
        yield "OpenMP runtimes", status, ", ".join(Path(p).name for p in runtimes)


def _has_torch() -> bool:
    try:
        importlib.import_module("torch")
    except ModuleNotFoundError:
        return False
    return True


def _implementations() -> Iterator[_Line]:
    if not _has_torch():
        yield "none", NOTE, "all of them work on torch's tensors"
        return
    dispatch = importlib.import_module("ropescale_kernels._dispatch")
    for name, reason in dispatch.available_impls().items():
        yield name, OK if reason is None else NOTE, reason or _self_check(name)


def _self_check(impl: str) -> str:
    """Rotate a token and compare with the definition; a wrong answer is an error."""
    import torch

    import ropescale_kernels as rk

    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=8, rope_theta=10000.0))
    q, position_ids = torch.arange(1.0, 17.0).view(1, 2, 8), torch.tensor([123456])
    got, _ = rk.apply_rotary_qk(q, None, position_ids, table, impl=impl)
    want, _ = rk.apply_rotary_qk(q, None, position_ids, table, impl="reference")
    if torch.equal(got, want):
        return "runs, with the bits of the definition"
    if impl == "torch" and torch.allclose(got, want, rtol=0, atol=1e-5):
        return "runs, within its bounds"
    raise RuntimeError(f"{impl} gave a wrong answer: {got.tolist()} instead of {want.tolist()}")


def _gpu() -> Iterator[_Line]:
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        yield "driver", OK, driver.read_text().splitlines()[0]
    else:
        yield "driver", NOTE, "no NVIDIA driver is loaded"
    compiler = os.environ.get("CUDACXX") or shutil.which("nvcc")
    home = os.environ.get("CUDA_HOME")
    if compiler is None and home and (Path(home) / "bin" / "nvcc").is_file():
        compiler = str(Path(home) / "bin" / "nvcc")
    yield "nvcc", OK if compiler else NOTE, compiler or "not on PATH, in CUDA_HOME or in CUDACXX"
    if not _has_torch():
        return
    import torch

    if not torch.cuda.is_available():
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        capability = f"compute capability {about.major}.{about.minor}"
        yield f"device {index}", OK, f"{about.name}, {capability}, {about.total_memory >> 30} GiB"


def _extras() -> Iterator[_Line]:
    for name, use in _EXTRAS.items():
        version = _version_of(name)
        yield name, OK if version else NOTE, version or f"not installed ({use})"


def _environment() -> Iterator[_Line]:
    for name in sorted(os.environ):
        if name in _VARIABLES:
            yield name, *_variable(name, os.environ[name])
        elif name.startswith("ROPESCALE_"):
            yield name, NOTE, f"{os.environ[name]!r}: no such variable is read"
        elif name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
            yield name, OK, f"{os.environ[name]!r}: malloc's, and so the price of fresh memory"


def _variable(name: str, value: str) -> tuple[str, str]:
    choices: Iterable[str] = ()
    if name == "ROPESCALE_IMPL":
        choices = ("auto", "cuda", "triton", "cpu", "torch", "reference", "")
    elif name == "ROPESCALE_CPU_ISA":
        choices = ("baseline", "avx2", "avx512", "")
    if choices and value not in choices:
        return PROBLEM, f"expected one of {', '.join(filter(None, choices))}, got {value}"
    return OK, f"{value!r}: {_VARIABLES[name]}"


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


_PROBES: dict[str, Callable[[], Iterator[_Line]]] = {
    "package": _package,
    "torch": _torch,
    "extension": _extension,
    "implementations": _implementations,
    "GPU": _gpu,
    "optional packages": _extras,
    "environment": _environment,
}


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """Give findings as JSON has them, with the command's verdict."""
    lines = [vars(finding) for finding in findings]
    fine = all(line["status"] != PROBLEM for line in lines)
    return {"fine": fine, "auto": choice(), "python": sys.version, "findings": lines}
