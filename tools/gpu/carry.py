"""Build here what a machine with a GPU and without a network should not spend its time on.

    python -m tools.gpu.carry [--out .gpu-carried] [--python python3.12] [--arch 90]

For `bench/gpu.sh --carried DIR` on that machine. DIR gets

- extension/: the compiled module for one Python and one architecture, with the hash of its sources;
- peers/: the rotary kernels of FlashInfer and SGLang, built from their wheels;
- wheels/: Liger-Kernel, apache-tvm-ffi, and what building the peers reads of their wheels.

Takes a few minutes on two cores, needs nvcc and a network. A part is kept if its manifest says that
it was built for the same Python and device from the same sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ropescale_kernels.bench.sources import ROOT, sources_sha256

from . import build_peers

DISTRIBUTIONS = ("liger-kernel", "apache-tvm-ffi", "flashinfer-python", "sglang")
# pip takes exactly the platforms that it is told.
_PLATFORMS = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 40)))
# The files sent along with a working tree have to be small.
MOST_BYTES = 40 << 20


def run(*command: str | Path, **environment: str) -> None:
    """Run a step from the checkout; its failure ends the script."""
    subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=os.environ | environment, check=True
    )


def is_current(folder: Path, architectures: str) -> bool:
    """Whether a folder holds an extension of the present sources."""
    manifest = folder / "manifest.json"
    if not manifest.is_file() or not any(folder.glob("_C*.so")):
        return False
    found = json.loads(manifest.read_text())
    return bool(found == {"sources_sha256": sources_sha256(), "architectures": architectures})


def extension(python: str, folder: Path, architectures: str) -> None:
    """Build the extension with another Python, which needs its headers and no torch."""
    if is_current(folder, architectures):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run(python, "-m", "venv", work / "venv")
        inside = work / "venv" / "bin" / "python"
        tools = ("setuptools", "pybind11", "cmake", "ninja")
        run(inside, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", *tools)
        build = ("setup.py", "-q", "build_ext", "--build-lib", work / "lib")
        run(
            inside,
            *build,
            "--build-temp",
            work / "build",
            PATH=f"{inside.parent}{os.pathsep}{os.environ['PATH']}",
            ROPESCALE_CUDA="ON",
            ROPESCALE_CUDA_ARCHITECTURES=architectures,
        )
        (module,) = (work / "lib").rglob("_C*.so")
        shutil.copy2(module, folder)
    manifest = {"sources_sha256": sources_sha256(), "architectures": architectures}
    (folder / "manifest.json").write_text(json.dumps(manifest) + "\n")


def peers(python_version: str, out: Path, architecture: str) -> int:
    """Download the peers' wheels, keep what is needed of them, and build them."""
    wheels, libraries = out / "wheels", out / "peers"
    kept = libraries / "manifest.json"
    script = Path(build_peers.__file__)
    manifest = {
        "python": python_version,
        "architecture": architecture,
        "build_peers_sha256": hashlib.sha256(script.read_bytes()).hexdigest(),
    }
    if kept.is_file() and json.loads(kept.read_text()) == manifest:
        return 0
    shutil.rmtree(libraries, ignore_errors=True)
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        full = Path(temporary)
        platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_x86_64")]
        pip = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
        target = ("--python-version", python_version, *platforms, "--dest", full)
        run(sys.executable, *pip, *target, *DISTRIBUTIONS)
        build_peers.slim(full, wheels)
        for wheel in full.glob("*.whl"):
            if not (wheels / wheel.name).exists():
                shutil.copy2(wheel, wheels)
    command = [
        sys.executable,
        "-m",
        "tools.gpu.build_peers",
        "--wheels",
        wheels,
        "--out",
        libraries,
    ]
    status = subprocess.run([*command, "--arch", f"{architecture}a"], cwd=ROOT).returncode
    if status == 0:
        kept.write_text(json.dumps(manifest) + "\n")
    return status


def main(words: Sequence[str] | None = None) -> int:
    """Build whatever is missing; 1 if a peer does not build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / ".gpu-carried", help="where to")
    parser.add_argument("--python", default="python3.12", help="of that machine, default 3.12")
    parser.add_argument("--arch", default="90", help="of its GPU, default 90")
    arguments = parser.parse_args(words)
    for tool in ("nvcc", arguments.python):
        if shutil.which(tool) is None:
            parser.error(f"{tool}: expected on PATH, found none")
    out: Path = arguments.out.resolve()
    extension(arguments.python, out / "extension", arguments.arch)
    version = subprocess.check_output(
        [arguments.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    )
    status = peers(version.strip(), out, arguments.arch)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    for path in files:
        print(f"{path.stat().st_size / 1e6:6.1f} MB  {path.relative_to(out)}")
    total = sum(path.stat().st_size for path in files)
    if total > MOST_BYTES:
        parser.error(f"--out: expected at most {MOST_BYTES >> 20} MiB, got {total >> 20}")
    return status


if __name__ == "__main__":
    sys.exit(main())
