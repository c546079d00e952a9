"""Build the CUDA kernels for the host, and set up the emulated device.

The .cu files and the bindings are those of a CUDA build. tests/csrc/emulated_cuda takes the place
of CUDA's runtime and device.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Orders of threads, as numbers of the emulator. A number above 1 is the seed of a shuffle.
ORDERS = {"forwards": 0, "backwards": 1, "shuffled": 20261121}


def missing_tool() -> str | None:
    """Return which build tools are missing, or None."""
    tools = {"cmake": find("cmake"), "ninja": find("ninja"), "a C++ compiler": compiler()}
    absent = [name for name, path in tools.items() if path is None]
    if importlib.util.find_spec("pybind11") is None:
        absent.append("pybind11")
    return f"{', '.join(absent)}: not found" if absent else None


def find(tool: str) -> str | None:
    """Return the path of a tool: beside this Python, else on PATH."""
    beside = Path(sys.executable).parent / tool
    return str(beside) if beside.exists() else shutil.which(tool)


def compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def run(*command: str | Path | None) -> None:
    """Run a build step. If it fails, its output is the message of the error."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr}")


def build(name: str = "plain", *, sanitize: str = "") -> Path:
    """Return the path of the extension with emulated kernels, building what is out of date.

    Args:
        name: Name of the build folder.
        sanitize: Value of the CMake option ROPESCALE_SANITIZE.
    """
    import pybind11

    tree = ROOT / "build" / "emulated" / f"{name}-{sysconfig.get_config_var('SOABI')}"
    tree.mkdir(parents=True, exist_ok=True)
    with (tree / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cmake = find("cmake")
        options = {
            "CMAKE_MAKE_PROGRAM": find("ninja"),
            "CMAKE_CXX_COMPILER": compiler(),
            # pybind11 strips the symbols of a build type whose name does not contain "Debug".
            "CMAKE_BUILD_TYPE": "EmulatedDebug",
            "CMAKE_CXX_FLAGS_EMULATEDDEBUG": "-O1",
            # Interprocedural optimisation would compile everything again at each link.
            "CMAKE_INTERPROCEDURAL_OPTIMIZATION": "OFF",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": tree / "out",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
            "ROPESCALE_CUDA": "EMULATED",
            "ROPESCALE_ISAS": "BASELINE",
            "ROPESCALE_SANITIZE": sanitize,
        }
        words = [f"-D{key}={value}" for key, value in options.items()]
        run(cmake, "-S", ROOT, "-B", tree, "-G", "Ninja", *words)
        run(cmake, "--build", tree)
    (module,) = (tree / "out").glob("_C*.so")
    return module


def load(path: Path) -> Any:
    """Import the extension at a path, beside the one of the package, and bind torch to it."""
    from ropescale_kernels.backends.compiled import bind_torch

    # The name is unique to the path, because pybind11 keeps one module per name.
    name = f"emulated_{zlib.crc32(str(path).encode())}._C"
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    bind_torch(module)
    return module


@dataclass(frozen=True)
class Launch:
    """One recorded launch."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    stream: int
    device: int
    pdl: bool
    kernel: int
    parameters: bytes


class Emulator:
    """The emulated device of one extension."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.emulator_set.restype = ctypes.c_bool

    def reset(self) -> None:
        self._library.emulator_reset()

    def set(self, **properties: int) -> None:
        """Set properties of the device: order, device_count, driver_version, fail_launch..."""
        for name, value in properties.items():
            assert self._library.emulator_set(name.encode(), ctypes.c_int(value)), name

    @property
    def current_device(self) -> int:
        return int(self._library.emulator_current_device())

    @property
    def last_error(self) -> int:
        return int(self._library.emulator_last_error())

    @property
    def launches(self) -> list[Launch]:
        found = []
        for index in range(self._library.emulator_launches()):
            record = (ctypes.c_int64 * 10)()
            self._library.emulator_launch(index, ctypes.byref(record))
            x = tuple(record)
            data = (ctypes.c_ubyte * self._library.emulator_parameter_bytes(index))()
            self._library.emulator_parameters(index, data)
            found.append(Launch(x[:3], x[3:6], x[6], x[7], bool(x[8]), x[9], bytes(data)))  # type: ignore[arg-type]
        return found


def instantiations(path: Path) -> dict[int, str]:
    """Return the kernels of an emulated extension: from the address in the file to the name.

    A name is, for example, "rotary_qk_kernel<Half, true, false>".
    """
    listing = subprocess.run(
        ["nm", "--demangle", str(path)], capture_output=True, text=True, check=True
    ).stdout
    symbol = re.compile(r"^([0-9a-f]+) \w void ropescale::cuda::.*?::(\w+_kernel<.*?>)\(", re.M)
    return {
        int(address, 16): name.replace("ropescale::", "")
        for address, name in symbol.findall(listing)
    }


def serve(extension: Any) -> None:
    """Make impl="cuda" run on an extension."""
    from ropescale_kernels.backends import cuda

    cuda._extension = extension
    cuda.unavailable.cache_clear()
    cuda._reason_against_device.cache_clear()
