"""Calls of the rotary kernels of serving engines: a float32 table, and a row for each token."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cases import Case, Inputs
from ._baseline import Baseline, Call, float32_table, package_version, prepare_in_place

Rotate = Callable[[Tensor, Tensor, Tensor, Tensor], object]


def prepare(inputs: Inputs, rotate: Rotate) -> Call:
    """Return a call in place, `rotate(positions, q, k, cos_sin_cache)`.

    Args:
        inputs: The case's tensors.
        rotate: Takes positions (num_tokens,), q and k (num_tokens, nheads, head_dim), and the table
            (rows, rotary_dim) of cos and then sin.
    """
    positions = inputs.row_ids.flatten()

    @cache
    def table_of(attention_factor: float) -> Tensor:
        return torch.cat(float32_table(inputs, attention_factor), dim=-1).contiguous()

    def bind(q: Tensor, k: Tensor, attention_factor: float) -> Callable[[], object]:
        table = table_of(attention_factor)
        q_rows, k_rows = (x.view(-1, *x.shape[2:]) for x in (q, k))
        return lambda: rotate(positions, q_rows, k_rows, table)

    return prepare_in_place(inputs, bind)


def table_bytes(case: Case, context: int) -> int:
    """Return the bytes of the float32 table of cos and sin."""
    return 4 * context * case.rotary_dim


def unsupported(case: Case) -> str | None:
    """Return the reason no engine's kernel takes a case, or None."""
    if case.dtype == "float32":
        return "float16 and bfloat16 only"
    if case.layout == "heads-first":
        return "heads of a token must be side by side"
    return None


def baseline(
    name: str,
    package: str,
    load: Callable[[], Rotate],
    unsupported: Callable[[Case], str | None] = unsupported,
) -> Baseline:
    """Return the contender for an engine's kernel.

    Args:
        name: Name in tables and in reports.
        package: The engine's distribution.
        load: Returns the `rotate` of `prepare`; raises ImportError if it is not installed.
        unsupported: As in Baseline.
    """

    def unavailable(device: torch.device) -> str | None:
        if device.type != "cuda":
            return "runs on CUDA devices only"
        try:
            load()
        except (ImportError, OSError) as error:
            return str(error)
        return None

    return Baseline(
        name,
        lambda inputs: prepare(inputs, load()),
        unavailable,
        unsupported,
        table_bytes,
        version=lambda: package_version(package),
    )


@cache
def prebuilt(file: str) -> Any:
    """Return the module of a kernel that tools/gpu/build_peers.py built, loaded by apache-tvm-ffi.

    Raises:
        ImportError: The variable ROPESCALE_PEERS names no folder that holds it, or tvm_ffi is
            missing.
    """
    path = Path(os.environ.get("ROPESCALE_PEERS", "")) / file
    if not os.environ.get("ROPESCALE_PEERS") or not path.is_file():
        raise ImportError(f"not installed, and no {file} in the folder ROPESCALE_PEERS")
    import tvm_ffi

    return tvm_ffi.load_module(str(path))
