"""The hash of the sources that decide a kernel's bits and time; without torch or the extension."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def sources_sha256(root: Path = ROOT) -> str:
    """Return a hash of the sources that decide the bits and the time of a kernel, in a checkout."""
    digest = hashlib.sha256()
    for folder in ("csrc", "ropescale_kernels/backends"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix in (".h", ".cpp", ".cu", ".py"):
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
                digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
