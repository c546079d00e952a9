"""Run Python with the sanitizers' runtimes preloaded, as sanitized extensions need it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import emulated_cuda

ROOT = Path(__file__).resolve().parents[2]


def sanitized(path: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the extension at `path` as the one with emulated kernels."""
    compiler = emulated_cuda.compiler()
    libraries = [
        subprocess.run(
            [str(compiler), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip(f"{compiler} brings no shared libasan")
    plain = {k: v for k, v in os.environ.items() if not k.startswith("ROPESCALE_")}
    # Leaks are not reported, because Python itself leaks. Without its interpreter, Triton runs no
    # test here.
    fixed = {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TRITON_INTERPRET": "0",
        "ROPESCALE_EMULATED_CUDA": str(path),
        "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
    }
    return subprocess.run(
        [sys.executable, *command],
        env=plain | fixed | environment,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
