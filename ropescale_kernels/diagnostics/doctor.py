"""Findings of `ropescale doctor`: which implementations can run here, and why others cannot.

This module needs no torch and no compiled extension. A probe that fails is itself a finding.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .._version import __version__
from ..names import CPU_ISAS, IMPLS
from .build_info import build_info

OK, NOTE, PROBLEM = "ok", "note", "problem"
_VARIABLES = {
    "ROPESCALE_IMPL": "overrides impl='auto'",
    "ROPESCALE_CPU_ISA": "limits the instruction set",
    "ROPESCALE_CUDA": "read when building",
    "ROPESCALE_SANITIZE": "read when building",
    "ROPESCALE_PEERS": "folder of other packages' kernels, for the bench",
    "ROPESCALE_REQUIRE_GPU": "tests fail unless so many for a GPU pass and none is skipped",
    "ROPESCALE_GPU_REHEARSAL": "tests for a GPU run on the CPU",
    "ROPESCALE_LAUNCHED": "a rehearsal of tests for a GPU writes what they launch to this file",
    "ROPESCALE_CUDA_ARCHITECTURES": "read when building",
    "ROPESCALE_EMULATED_CUDA": "tests take this build of the emulated CUDA kernels",
    "ROPESCALE_EMULATED_ORDER": "in which order tests run emulated threads",
    "ROPESCALE_EXPECT_SANITIZED": "tests fail where the extension is not sanitized",
    "ROPESCALE_BENCH_TOY": "the files of bench/ take a few tokens of each case",
    "TRITON_INTERPRET": "Triton kernels are interpreted",
    "CUDA_VISIBLE_DEVICES": "hides the devices it does not name",
    "OMP_NUM_THREADS": "threads of torch and of the kernels",
}
_IMPL_CHOICES = ("auto", *IMPLS)
_EXTRAS = {
    "typer": "the ropescale command",
    "rich": "the ropescale command",
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
    """One finding.

    Attributes:
        topic: Its group: "package", "torch", "implementations" and so on.
        name: Its subject.
        status: "ok", "note" (worth knowing) or "problem" (a feature will not work).
        text: The finding, and its remedy if there is one.
    """

    topic: str
    name: str
    status: str
    text: str


def examine() -> list[Finding]:
    """Return the findings of every probe, by topic."""
    found: list[Finding] = []
    for topic, probe in _PROBES.items():
        try:
            # Findings are added one by one, so those before an error of the probe are kept.
            for line in probe():
                found.append(Finding(topic, *line))
        except Exception as error:
            # Any error of a probe is a finding, because doctor is called on broken installations.
            found.append(Finding(topic, "probe", PROBLEM, f"{type(error).__name__}: {error}"))
    return found


def choice() -> str:
    """Return the implementations that impl="auto" takes, as a sentence."""
    try:
        return _choice()
    except Exception as error:
        return f"nothing can run: {error}"


def _choice() -> str:
    reasons = importlib.import_module("ropescale_kernels.ops.implementations").available_impls()
    forced = os.environ.get("ROPESCALE_IMPL") or "auto"
    if forced != "auto":
        reason = reasons.get(forced, f"expected one of {', '.join(_IMPL_CHOICES)}")
        if reason is not None:
            return f"nothing can run: ROPESCALE_IMPL asks for {forced}: {reason}"
        return f"impl='auto' takes {forced} for every tensor: ROPESCALE_IMPL says so"
    runs = [name for name, reason in reasons.items() if reason is None]
    on_cpu = next((name for name in ("cpu", "torch") if name in runs), "nothing")
    on_gpu = next((name for name in ("cuda", "triton", "torch") if name in runs), "nothing")
    if not _cuda_of_torch()[0]:
        return f"impl='auto' takes {on_cpu} for CPU tensors; torch finds no CUDA device"
    return f"impl='auto' takes {on_cpu} for CPU tensors and {on_gpu} for CUDA tensors"


_Line = tuple[str, str, str]


def _package() -> Iterator[_Line]:
    here = Path(__file__).resolve().parents[1]
    kind = "a source checkout" if (here.parent / "setup.py").is_file() else "an installed copy"
    yield "ropescale_kernels", OK, f"{__version__}, {kind} at {here}"
    installed = _version_of("ropescale_kernels")
    if installed not in (None, __version__):
        yield "installed", NOTE, f"version {installed} is installed, {__version__} is imported"
    yield "python", OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    for copy in _other_copies(here):
        yield "another copy", NOTE, f"{copy}: not the one that is imported here"


def _other_copies(here: Path) -> list[Path]:
    """Return other packages of this name that the working directory or sys.path has."""
    folders = [Path(entry or ".").resolve() / "ropescale_kernels" for entry in ("", *sys.path)]
    found = [folder for folder in folders if (folder / "__init__.py").is_file()]
    return [folder for folder in dict.fromkeys(found) if folder != here]


def _torch() -> Iterator[_Line]:
    try:
        import torch
    except ModuleNotFoundError:
        words = "not installed; `pip install torch`, in the build for this machine"
        yield "torch", PROBLEM, f"{words}: no install of this package brings it"
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
    # This import puts an instruction set in force. If it fails, another finding has the reason.
    with suppress(Exception):
        importlib.import_module("ropescale_kernels.backends.compiled")
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
    if len(runtimes) == 1:
        yield "OpenMP runtime", OK, Path(runtimes[0]).name
    elif runtimes:
        words = f"{len(runtimes)} in one process, each with threads of its own"
        yield "OpenMP runtimes", NOTE, f"{words}: {', '.join(runtimes)}"


def _has_torch() -> bool:
    try:
        importlib.import_module("torch")
    except Exception:
        # The topic "torch" has the reason as a finding.
        return False
    return True


def _implementations() -> Iterator[_Line]:
    if not _has_torch():
        yield "none", NOTE, "all of them work on torch's tensors"
        return
    dispatch = importlib.import_module("ropescale_kernels.ops.implementations")
    for name, reason in dispatch.available_impls().items():
        if reason is not None:
            yield name, NOTE, reason
            continue
        try:
            status, text = _self_check(name)
        except Exception as error:
            # The other implementations are still tried.
            status, text = PROBLEM, f"{type(error).__name__}: {error}"
        yield name, status, text


def _self_check(impl: str) -> tuple[str, str]:
    """Return status and text of a rotation of one token, compared with the definition."""
    import torch

    from .. import RopeScaling, RotaryTable, apply_rotary_qk, bounds

    has_device = impl in ("cuda", "triton") and _cuda_of_torch()[0]
    device = torch.device("cuda" if has_device else "cpu")
    scaling = RopeScaling.default(rotary_dim=8, rope_theta=10000.0)
    with torch.device("cpu"):
        q, position_ids = torch.arange(1.0, 17.0).view(1, 2, 8), torch.tensor([123456])
        on_cpu = RotaryTable(scaling)
    want, _ = apply_rotary_qk(q, None, position_ids, on_cpu, impl="reference")
    table = RotaryTable(scaling, device=device)
    there = q.to(device), None, position_ids.to(device)
    got = apply_rotary_qk(*there, table, impl=impl)[0].cpu()
    if torch.equal(got, want):
        return OK, "runs, with the bits of the definition"
    # Both answers lie within the bound of the exact one, so they differ by at most twice as much.
    bound = 2 * bounds.rotation_bound(q[..., :4], q[..., 4:], 1.0, q.dtype).repeat(1, 1, 2)
    if impl == "torch" and bool(((got - want).abs() <= bound).all()):
        return OK, "runs, within its bounds"
    return PROBLEM, f"{impl} gave a wrong answer: {got.tolist()} instead of {want.tolist()}"


def _gpu() -> Iterator[_Line]:
    driver = _driver()
    yield "driver", OK if driver else NOTE, driver or "no NVIDIA driver is loaded"
    yield "nvcc", *_nvcc()
    if not _has_torch():
        return
    import torch

    usable, why = _cuda_of_torch()
    if driver and not usable:
        yield "torch", NOTE, f"finds no CUDA device: {why}"
    for index in range(torch.cuda.device_count() if usable else 0):
        about = torch.cuda.get_device_properties(index)
        capability = f"compute capability {about.major}.{about.minor}"
        yield f"device {index}", OK, f"{about.name}, {capability}, {about.total_memory >> 30} GiB"


def _driver() -> str | None:
    """Return the version of the NVIDIA driver, or None. Some containers have only nvidia-smi."""
    version = Path("/proc/driver/nvidia/version")
    if version.is_file():
        return version.read_text().splitlines()[0]
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    said = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[0]
    return f"{said} (nvidia-smi)" if done.returncode == 0 else None


def _cuda_of_torch() -> tuple[bool, str]:
    """Return whether torch can use a CUDA device, and the reason from its warnings if not."""
    import torch

    if torch.version.cuda is None:
        return False, "torch is a CPU build"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    return usable, "; ".join(str(warning.message) for warning in said) or "torch does not say why"


def _nvcc() -> tuple[str, str]:
    """Return status and path of nvcc: CUDACXX alone if it is set, else PATH, then CUDA_HOME."""
    named, home = os.environ.get("CUDACXX"), os.environ.get("CUDA_HOME")
    if named:
        found = shutil.which(named)
        return (OK, found) if found else (NOTE, f"CUDACXX names {named}, which cannot be run")
    found = shutil.which("nvcc") or (shutil.which(f"{home}/bin/nvcc") if home else None)
    return (OK, found) if found else (NOTE, "not on PATH, in CUDA_HOME or in CUDACXX")


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
    choices = {"ROPESCALE_IMPL": _IMPL_CHOICES, "ROPESCALE_CPU_ISA": CPU_ISAS}.get(name, ())
    if choices and value and value not in choices:
        return PROBLEM, f"expected one of {', '.join(choices)}, got {value}"
    if name == "ROPESCALE_IMPL" and value not in ("", "auto") and _has_torch():
        # A wrong ROPESCALE_CPU_ISA makes this fail and has a line of its own.
        with suppress(Exception):
            dispatch = importlib.import_module("ropescale_kernels.ops.implementations")
            reason = dispatch.available_impls()[value]
            if reason is not None:
                return PROBLEM, f"expected an implementation that can run, got {value}: {reason}"
    best = build_info().get("best_cpu_isa")
    if (
        name == "ROPESCALE_CPU_ISA"
        and value
        and best
        and CPU_ISAS.index(value) > CPU_ISAS.index(best)
    ):
        return NOTE, f"{value!r}: this processor and build go up to {best}"
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
    """Return the findings and the command's verdict as a JSON object."""
    lines = [vars(finding) for finding in findings]
    fine = all(line["status"] != PROBLEM for line in lines)
    return {"fine": fine, "auto": choice(), "python": sys.version, "findings": lines}
