"""Compile kernels for devices that are not here, and say what came out, as JSON.

    ahead.py BACKEND ARCH all|some

Runs in a process of its own, as Triton either compiles or interprets for good.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from ropescale_kernels.backends.triton import rotary_cos_sin, rotary_qk, scaling_grad
from ropescale_kernels.backends.triton.compile import Variant, source_of

I32 = torch.int32
STATIC = (I32, I32, I32, None, None, None, None)
BLEND = (I32, I32, I32, I32, I32, I32, I32)
# What a table brings besides positions and profiles.
SOURCES = {
    "static": (torch.int64, None, *STATIC),
    "profiles": (I32, I32, *STATIC),
    "blend and axes": (torch.int64, I32, *BLEND),
}
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def named(kernel: Any, *fields: Any) -> Variant:
    return Variant(kernel, torch.device("cuda", 0), *fields)


def variants(which: str) -> Iterator[tuple[str, Variant]]:
    every = which == "all"
    options = itertools.product(DTYPES, (True, False), (False, True), SOURCES, (False, True))
    for dtype, aligned, interleaved, source, float32 in options:
        # Elsewhere one path of each: vectors of bfloat16, single float32, all that is optional.
        if not every and (dtype, aligned, interleaved, source, float32) not in SOME:
            continue
        if every and source != "static" and (dtype == torch.float16 or float32):
            continue
        words = f"{dtype} {source}"
        words += " aligned" * aligned + " interleaved" * interleaved + " float32" * float32
        fields = dtype, SOURCES[source], 128, 128, interleaved, aligned, (float32,)
        yield f"rotary_qk {words}", named(rotary_qk.rotary_qk_kernel, *fields)
    if every:
        for rotary_dim, head_dim in ((96, 96), (64, 128), (256, 256), (512, 512), (2, 2)):
            fields = torch.bfloat16, SOURCES["static"], rotary_dim, head_dim, False
            aligned = rotary_dim > 2
            yield (
                f"rotary_qk {rotary_dim} of {head_dim}" + " aligned" * aligned,
                named(rotary_qk.rotary_qk_kernel, *fields, aligned, (False,)),
            )
    for words, index, sections in (
        ("aligned", torch.int64, None),
        ("strided", None, ()),
        ("axes", None, ((16, 24, 1), (24, 32, 1))),
    ):
        inputs = torch.float32, torch.float32, index
        rows = torch.bfloat16, inputs, 64, 64, False, True, (sections,)
        yield f"rotary_cos_sin {words}", named(rotary_cos_sin.rotary_cos_sin_kernel, *rows)
    sums = (torch.int64, None, *STATIC, torch.float64)
    fields = torch.bfloat16, sums, 128, 128, False, True, (False,)
    yield "scaling_grad aligned", named(scaling_grad.scaling_grad_kernel, *fields)


SOME = (
    (torch.bfloat16, True, False, "static", False),
    (torch.float32, False, True, "blend and axes", False),
    (torch.float16, True, True, "profiles", True),
)


def tool(name: str, *arguments: str) -> str:
    command = [str(TOOLS / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def nvidia(kernel: Any) -> dict[str, Any]:
    """Read PTX and machine code."""
    ptx = kernel.asm["ptx"]
    found: dict[str, Any] = {
        "unrounded": sorted(
            set(re.findall(r"\b(?:add|mul|sub|fma|mad|div)\.(?:ftz\.|full\.|approx\.)*f32\b", ptx))
        ),
        "flushing": ".ftz" in ptx,
        "approximate": sorted(set(re.findall(r"\b\w+\.(?:full|approx)\S*", ptx))),
    }
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = tool("cuobjdump", "-res-usage", file.name)
        sass = tool("nvdisasm", "-c", file.name)
    line = r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)"
    found["opcodes"] = dict(Counter(re.findall(line, sass, re.M)))
    numbers = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage))
    return found | {name: int(number) for name, number in numbers.items()}


def amd(kernel: Any) -> dict[str, Any]:
    code = kernel.asm["amdgcn"]
    value = {
        key: int(n)
        for key, n in re.findall(
            r"\.(vgpr_spill_count|sgpr_spill_count|private_segment_fixed_size):\s+(\d+)", code
        )
    }
    opcodes = Counter(re.findall(r"^\s+((?:v|global|buffer|scratch)_\w+)", code, re.M))
    return {"spills": value, "opcodes": dict(opcodes)}


def main(backend: str, arch: str, which: str) -> None:
    warp_size = 64 if backend == "hip" else 32
    target = GPUTarget(backend, int(arch) if backend == "cuda" else arch, warp_size)
    found = {}
    for name, variant in variants(which):
        source, options = source_of(variant, warp_size)
        kernel = triton.compile(source, target=target, options=options)
        found[name] = {"shared": kernel.metadata.shared, "warps": kernel.metadata.num_warps}
        found[name] |= nvidia(kernel) if backend == "cuda" else amd(kernel)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
