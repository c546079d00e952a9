"""Build the extension with CMake. The rest of the packaging is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def _cmake() -> str:
    """Return the path of cmake: in the build environment, else on PATH."""
    beside_python = Path(sys.executable).parent / "cmake"
    found = str(beside_python) if beside_python.exists() else shutil.which("cmake")
    if found is None:
        raise RuntimeError("cmake: expected on PATH, found none. `pip install cmake ninja`.")
    return found


def _architectures() -> list[str]:
    """Return the option for ROPESCALE_CUDA_ARCHITECTURES, such as "80 90", if it is set."""
    named = os.environ.get("ROPESCALE_CUDA_ARCHITECTURES", "").replace(",", " ").split()
    return [f"-DROPESCALE_CUDA_ARCHITECTURES={';'.join(named)}"] if named else []


class CMakeBuild(build_ext):
    """Configure and build CMakeLists.txt; the module goes to the path that setuptools names."""

    def build_extension(self, ext: Extension) -> None:
        """Run CMake for the only extension."""
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        # The sanitized build has its own tree, because its objects must not be reused.
        sanitize = os.environ.get("ROPESCALE_SANITIZE", "")
        tree = Path(self.build_temp).resolve() / ("sanitize" if sanitize else "release")
        tree.mkdir(parents=True, exist_ok=True)
        configure = [
            _cmake(),
            # The cache may hold paths of an isolated build environment that no longer exists.
            "--fresh",
            "-S",
            str(ROOT),
            "-B",
            str(tree),
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DROPESCALE_CUDA={os.environ.get('ROPESCALE_CUDA', 'AUTO')}",
            f"-DROPESCALE_SANITIZE={sanitize}",
            *_architectures(),
            "-DCMAKE_BUILD_TYPE=Release",
        ]
        if shutil.which("ninja"):
            configure += ["-G", "Ninja"]
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(configure, check=True)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
        subprocess.run([_cmake(), "--build", str(tree), "--parallel", jobs], check=True)


setup(
    ext_modules=[Extension("ropescale_kernels._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
