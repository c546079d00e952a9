"""Run the PTX that nvcc makes of the CUDA kernels, launched as the extension launches them.

The emulated extension works out grid, block and parameters of a call, and records them in place of
running it. They go to the interpreter unchanged.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from ropescale_kernels.backends import cuda
from tools import emulated_cuda

from .calls import Call
from .machine import Machine
from .memory import GlobalMemory
from .program import Program

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("rotary_qk", "scaling_grad")
# The numbers of an H100.
MULTIPROCESSORS = 132
_KERNEL = re.compile(r"[a-z_]+_kernelI.*")


def compiler() -> str | None:
    """Return the path of nvcc, or None."""
    return shutil.which("nvcc")


@cache
def ptx(architecture: int) -> str:
    """Return the PTX of all kernels, compiled with the flags of the build."""
    texts = []
    for stem in SOURCES:
        source = ROOT / "csrc" / "kernels" / f"{stem}.cu"
        folder = ROOT / "build" / "ptx"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem}-sm_{architecture}-{_digest()}.ptx"
        if not path.exists():
            flags = ["-std=c++17", "-O3", "-DNDEBUG", "--fmad=false", f"-arch=sm_{architecture}"]
            # Several processes may compile at once.
            part = path.with_suffix(f".{os.getpid()}.part")
            command = [str(compiler()), "-ptx", *flags, "-I", str(ROOT / "csrc" / "include")]
            subprocess.run([*command, str(source), "-o", str(part)], check=True)
            part.rename(path)
        texts.append(path.read_text())
    return "\n".join(texts)


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def kernels(text: str) -> list[str]:
    """Return the names of the kernels in a PTX file, without what depends on the file."""
    return [_name(symbol) for symbol in re.findall(r"\.entry\s+([\w$]+)", text)]


def _name(symbol: str) -> str:
    found = _KERNEL.search(symbol)
    assert found is not None, symbol
    return re.sub(r"^\d+", "", found[0])


class Runner:
    """Makes calls on a PTX text.

    Attributes:
        programs: The kernels that were launched, by name.
        machines: The launches that ran.
    """

    def __init__(self, text: str, programs: dict[str, Program] | None = None) -> None:
        """Read kernels of a text as they are needed; `programs` take the place of some."""
        self._text = text
        self._path = Path(cuda._extension.__file__)
        self._emulator = emulated_cuda.Emulator(self._path)
        self._symbols = _host_symbols(self._path)
        self.programs = dict(programs or {})
        self.machines: list[Machine] = []

    def program(self, name: str) -> Program:
        """Return a kernel by its name."""
        if name not in self.programs:
            self.programs[name] = Program(self._text, name)
        return self.programs[name]

    def run(self, call: Call, **options: Any) -> Machine:
        """Make a call; `options` go to the machine."""
        launch = self.recorded(lambda: call.launch("cuda"))
        return self.interpret(launch, call.inputs, call.outputs, **options)

    def recorded(self, launch: Callable[[], Any]) -> emulated_cuda.Launch:
        """Return the one launch that a function makes, which runs no thread."""
        self._emulator.reset()
        self._emulator.set(record_only=1, multiprocessors=MULTIPROCESSORS)
        try:
            launch()
            (made,) = self._emulator.launches
        finally:
            self._emulator.reset()
        return made

    def interpret(
        self,
        launch: emulated_cuda.Launch,
        inputs: tuple[Tensor | None, ...],
        outputs: tuple[Tensor | None, ...],
        **options: Any,
    ) -> Machine:
        """Run a launch on the memory of tensors."""
        program = self.program(self._symbols[launch.kernel])
        memory = GlobalMemory(inputs, outputs)
        machine = Machine(program, memory, launch.grid, launch.block, launch.parameters, **options)
        machine.run()
        self.machines.append(machine)
        return machine


@cache
def _host_symbols(path: Path) -> dict[int, str]:
    """From the address of each kernel in an emulated extension to its name."""
    listing = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^([0-9a-f]+) \w (\S*_kernelI\S*)$", listing, re.M)
    return {int(address, 16): _name(symbol) for address, symbol in found}
