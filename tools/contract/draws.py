"""Values of q and k, and a YaRN scaling, which most tests draw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import ropescale_kernels as rk

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
YARN: dict[str, Any] = {"rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}


def draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Return normal values, the same ones for equal arguments."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def yarn(rotary_dim: int, **options: Any) -> rk.RopeScaling:
    """Return the scaling of YARN with some arguments replaced or added."""
    return rk.RopeScaling.yarn(rotary_dim=rotary_dim, **(YARN | options))
