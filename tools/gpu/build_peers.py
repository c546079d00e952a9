"""Build the rotary kernels of FlashInfer and SGLang from their wheels' own sources, with nvcc.

    python -m tools.gpu.build_peers --wheels DIR --out DIR [--arch 90a]
    python -m tools.gpu.build_peers --wheels DIR --out DIR --slim
    python -m tools.gpu.build_peers --check DIR

For machines without a network, where their packages' other requirements cannot be installed: only
headers of apache-tvm-ffi are needed to build, and its package to load the result. Takes a minute or
two. `ropescale bench` finds the libraries in the folder that ROPESCALE_PEERS names. With `--slim`,
nothing is built: DIR gets the wheels without what building does not read, a tenth of their size.
`--check` loads what a folder holds, and exits with 1 unless every library loads.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

# SGLang compiles a kernel on demand for each width of the bench and each element type.
_ELEMENTS = {"bfloat16": "bf16_t", "float16": "fp16_t"}
_FFI_HEADERS = ("container/tensor", "dtype", "error", "extra/c_env_api", "function")


# Files of each wheel that the build reads, as patterns of names.
_READ = {
    "flashinfer_python": (
        r"flashinfer/data/csrc/([\w.]+\.h|(flashinfer_)?rope\w*\.cu)",
        r"flashinfer/data/include/.*",
        r"flashinfer/data/cccl/(cub|libcudacxx/include|thrust)/.*",
    ),
    "sglang": (r"sglang/kernels/jit/(include|csrc/elementwise)/.*",),
}


def newest(wheels: Path, name: str) -> Path | None:
    """Return the newest wheel of a distribution, or None."""
    return max(wheels.glob(f"{name}-*.whl"), default=None)


def slim(wheels: Path, out: Path) -> None:
    """Write each wheel again with only what building reads."""
    for name, patterns in _READ.items():
        wheel = newest(wheels, name)
        if wheel is None:
            continue
        with (
            zipfile.ZipFile(wheel) as whole,
            zipfile.ZipFile(out / wheel.name, "w", zipfile.ZIP_DEFLATED) as part,
        ):
            read = [
                member
                for member in whole.namelist()
                if any(re.fullmatch(pattern, member) for pattern in patterns)
            ]
            for member in read:
                part.writestr(member, whole.read(member))
        if not read:
            raise SystemExit(f"{wheel.name}: expected sources of a rotary kernel, found none")
        print(f"{wheel.name}: {(out / wheel.name).stat().st_size >> 20} MiB")


def unpack(wheels: Path, name: str, into: Path) -> Path | None:
    """Unpack the newest wheel of a distribution; None where there is none."""
    wheel = newest(wheels, name)
    if wheel is None:
        return None
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into / name)
    return into / name


def flashinfer(package: Path, work: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Return sources, include folders and flags of FlashInfer's rotary operators."""
    data = package / "flashinfer" / "data"
    sources = [data / "csrc" / name for name in ("rope.cu", "flashinfer_rope_binding.cu")]
    cccl = data / "cccl"
    includes = [data / "include", data / "csrc"]
    includes += [cccl / part for part in ("cub", "libcudacxx/include", "thrust")]
    defines = ["BF16", "F16", "FP8_E4M3", "FP8_E5M2"]
    return sources, includes, ["-std=c++17", *(f"-DFLASHINFER_ENABLE_{name}" for name in defines)]


def sglang(package: Path, work: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Return sources, include folders and flags of SGLang's rotary kernel, one export a shape."""
    # This imports torch, for which `--check` has no need.
    from ropescale_kernels.bench.cases import MODELS

    jit = package / "sglang" / "kernels" / "jit"
    lines = [f"#include <tvm/ffi/{name}.h>" for name in _FFI_HEADERS]
    lines += [f'#include "{jit / "csrc" / "elementwise" / "rope.cuh"}"', "namespace sglang {"]
    for rotary_dim in sorted({case.rotary_dim for case in MODELS.values()}):
        for name, element in _ELEMENTS.items():
            # Halves as pairs, and dependent launch, as on every device from Hopper on.
            kernel = f"FusedRopeKernel<true, {rotary_dim}, true, {element}, {element}>::run"
            export = f"run_rope_{rotary_dim}_{name}"
            lines.append(f"TVM_FFI_DLL_EXPORT_TYPED_FUNC({export}, ({kernel}));")
    lines.append("}")
    source = work / "sglang_rope.cu"
    source.write_text("\n".join(lines) + "\n")
    flags = ["-std=c++20", "--expt-relaxed-constexpr", "-DSGL_CUDA_ARCH=900"]
    return [source], [jit / "include"], flags


PEERS: dict[str, tuple[str, Callable[[Path, Path], tuple[list[Path], list[Path], list[str]]]]] = {
    "flashinfer_rope": ("flashinfer_python", flashinfer),
    "sglang_rope": ("sglang", sglang),
}


def loads(path: Path) -> bool:
    """Say whether a library loads."""
    try:
        import tvm_ffi

        tvm_ffi.load_module(str(path))
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"{path.stem}: does not load: {error}")
        return False
    print(f"{path.stem}: loads")
    return True


def main(words: Sequence[str] | None = None) -> int:
    """Build what there are wheels for; 1 if something does not build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", type=Path, help="folder of libraries to load")
    parser.add_argument("--wheels", type=Path, help="folder of wheels")
    parser.add_argument("--out", type=Path, help="folder for the libraries")
    parser.add_argument("--arch", default="90a", help="of the GPU, default 90a")
    parser.add_argument("--slim", action="store_true", help="write small wheels, build nothing")
    parser.add_argument("--missing", action="store_true", help="build only what does not load")
    arguments = parser.parse_args(words)
    if arguments.check is not None:
        missing = [name for name in PEERS if not loads(arguments.check / f"{name}.so")]
        return int(bool(missing))
    if arguments.wheels is None or arguments.out is None:
        parser.error("--wheels, --out: expected both, or --check")
    if not arguments.wheels.is_dir():
        parser.error(f"--wheels: expected a folder, got {arguments.wheels}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.slim:
        slim(arguments.wheels, arguments.out)
        return 0
    if shutil.which("nvcc") is None:
        parser.error("nvcc: expected on PATH, found none")
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ffi = unpack(arguments.wheels, "apache_tvm_ffi", work)
        if ffi is None:
            parser.error(f"--wheels: expected a wheel of apache-tvm-ffi in {arguments.wheels}")
        for name, (distribution, describe) in PEERS.items():
            target = arguments.out / f"{name}.so"
            if arguments.missing and loads(target):
                continue
            package = unpack(arguments.wheels, distribution, work)
            if package is None:
                print(f"{name}: no wheel of {distribution}")
                continue
            sources, includes, flags = describe(package, work)
            includes.append(ffi / "tvm_ffi" / "include")
            arch = f"-gencode=arch=compute_{arguments.arch},code=sm_{arguments.arch}"
            command = ["nvcc", "-O3", "-w", "-shared", "-Xcompiler", "-fPIC", arch, *flags]
            command += [f"-I{path}" for path in includes]
            done = subprocess.run([*command, "-o", str(target), *map(str, sources)])
            print(f"{name}: {'built' if done.returncode == 0 else 'does not build'}")
            failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
