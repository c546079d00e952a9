"""Bugs planted in the CUDA kernels, one by one: tests/cuda/contract_calls.py must fail on each."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.sanitized_python import sanitized

from tools import emulated_cuda

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = "tests/cuda/contract_calls.py"

# (file, text, text of the mutant)
MUTANTS = {
    "one token too many": ("rotary_qk.cu", "if (token >= p.batch", "if (token > p.batch"),
    "k's heads begin with q's": ("rotary_qk.cu", "max(first - p.q.nheads,", "max(first,"),
    "k by q's factor": (
        "rotary_qk.cu",
        "piece, table, table.factor_k",
        "piece, table, table.factor_q",
    ),
    "the last vector is not copied": ("rotary_qk.cu", "i < rest;", "i < rest - 1;"),
    "a stride of another tensor": (
        "rotary_qk.cu",
        "out += kHeads * heads.out_",
        "out += kHeads * heads.in_",
    ),
    "lanes that only copy rotate": (
        "rotary_qk.cu",
        "if (int(threadIdx.x) >= Piece",
        "if (false && Piece",
    ),
    "blocks rounded down": (
        "rotary_qk.cu",
        "(num_tokens + grid.tokens_per_block - 1) / grid",
        "num_tokens / grid",
    ),
    "addresses not looked at": ("rotary_qk.cu", "addresses % 16 == 0 &&", ""),
    "rest not looked at": ("rotary_qk.cu", "(in_place || p.head_dim % width == 0) &&", ""),
    "halves that are no vectors": (
        "rotary_qk.cu",
        "p.interleaved ? p.rotary_dim : p.rotary_dim / 2",
        "p.rotary_dim",
    ),
    "pairs of the wrong half": ("row_cuda.h", "upper_ / 2 + i - kPairs / 2", "upper_ / 2 + i"),
    "a vector that is not there": (
        "row_cuda.h",
        "if (kInterleaved && upper_ >=",
        "if (false && upper_ >=",
    ),
    "one pair too many": (
        "row_cuda.h",
        "if (pair(i) >= num_pairs_) continue;\n            row[",
        "row[",
    ),
    "float16 cut off": (
        "words_cuda.h",
        "__half_as_ushort(__float2half_rn(x))",
        "uint16_t(ScalarLanes::as_uint(x) >> 16)",
    ),
    "one profile too many": (
        "cos_sin_cuda.h",
        "profile >= table.num_profiles",
        "profile > table.num_profiles",
    ),
    "one row too many": (
        "cos_sin_cuda.h",
        "at.token >= source.num_rows",
        "at.token > source.num_rows",
    ),
    "positions of 32 bits": ("cos_sin_cuda.h", "uint32_t(uint64_t(x) >> 32)", "0u"),
    "the backwards sign": ("cos_sin_cuda.h", "p.conjugate ? 0x80000000u : 0u", "0u"),
    "infinite angles": ("cos_sin_cuda.h", "if (table.phase_float32) {", "if (false) {"),
    "the first sequence's tokens": (
        "cos_sin_cuda.h",
        "uint32_t(token) - batch * uint32_t(p.seqlen)",
        "uint32_t(token)",
    ),
    "the first profile's steps": ("cos_sin_cuda.h", "profile * num_pairs, scale", "0, scale"),
    "the first axis": ("cos_sin_cuda.h", "table.axis_ids ? table.axis_ids[pair] : 0", "0"),
    "rows of neighbours alone": ("cos_sin_cuda.h", "if (source.is_strided) {", "if (false) {"),
    "cos of neighbours": ("cos_sin_cuda.h", "pair * source.cos_stride_pair", "pair"),
    "sin of neighbours": ("cos_sin_cuda.h", "pair * source.sin_stride_pair", "pair"),
    "cos of the first axis": ("cos_sin_cuda.h", "axis * source.cos_stride_axis", "0"),
    "sin of the first axis": ("cos_sin_cuda.h", "axis * source.sin_stride_axis", "0"),
    "gradients the wrong way": ("scaling_grad.cu", "g1 * x0 - g0 * x1", "g0 * x1 - g1 * x0"),
}


def link(tree: Path, sources: Path, unit: str, out: Path) -> None:
    """Compile a file with sanitizers, and link it in place of the object file of a build."""
    emulator = ROOT / "tests" / "csrc" / "emulated_cuda"
    flags = ["-std=c++17", "-O0", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-w"]
    flags += ["-fsanitize=address,alignment", "-fno-sanitize-recover=all", f"-I{emulator}"]
    command = [emulated_cuda.compiler(), *flags, "-shared", "-o", out]
    command += ["-x", "c++", sources / "kernels" / unit, "-x", "none"]
    # A build folder keeps the objects of source files that no longer exist; ninja knows the others.
    (linked,) = re.findall(
        r"^build out/_C\S+: CXX_MODULE\S+ ([^|\n]+)", (tree / "build.ninja").read_text(), re.M
    )
    rest = [*(tree / word for word in linked.split()), tree / "libropescale.a"]
    emulated_cuda.run(*command, *rest, "-ldl", "-lpthread")


def plant(folder: Path, file: str, old: str, new: str) -> Path:
    """Return a copy of csrc with one bug."""
    sources = folder / "csrc"
    shutil.copytree(ROOT / "csrc", sources)
    path = sources / "kernels" / file
    text = path.read_text()
    assert old in text, f"{file} no longer says {old!r}"
    path.write_text(text.replace(old, new, 1))
    return sources


@pytest.mark.slow(seconds=60)
def test_every_mutant_is_caught_and_the_kernels_as_they_are_pass(tmp_path: Path) -> None:
    missing = emulated_cuda.missing_tool()
    if missing:
        pytest.skip(missing)
    tree = emulated_cuda.build().parent.parent
    modules = {name: tmp_path / str(number) / "_C.so" for number, name in enumerate(MUTANTS)}

    def make(name: str) -> None:
        file = MUTANTS[name][0]
        unit = file if file.endswith(".cu") else "rotary_qk.cu"
        link(tree, plant(modules[name].parent, *MUTANTS[name]), unit, modules[name])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(make, MUTANTS))
    modules["none"] = tmp_path / "_C.so"
    link(tree, ROOT / "csrc", "rotary_qk.cu", modules["none"])

    done = sanitized(modules["none"], "-W", "ignore", CALLS, *map(str, modules.values()))
    assert done.returncode == 0, done.stderr[-3000:]
    codes = dict(re.findall(r"^(.*): (-?\d+)$", done.stdout, re.MULTILINE))
    survived = [name for name, path in modules.items() if codes[str(path)] == "0"]
    assert survived == ["none"]
    # Each failure comes from a comparison or a sanitizer, not from a failed import.
    assert "ImportError" not in done.stdout + done.stderr
