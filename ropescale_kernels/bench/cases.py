"""The shapes that are timed, by the model they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..scaling import RopeScaling
from ..table import RotaryTable

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class Case:
    """One shape: q `(1, seqlen, nheads, head_dim)`, k `(1, seqlen, nheads_k, head_dim)`."""

    name: str
    nheads: int
    nheads_k: int
    head_dim: int
    rotary_dim: int
    seqlen: int
    dtype: str = "bfloat16"

    @property
    def bytes(self) -> int:
        """Bytes read and written once: what a copy of q and k moves."""
        size = DTYPES[self.dtype].itemsize
        return 2 * self.seqlen * (self.nheads + self.nheads_k) * self.head_dim * size

    def scaling(self) -> RopeScaling:
        """Give YaRN with factor 4, so that the attention factor is not 1."""
        return RopeScaling.yarn(
            rotary_dim=self.rotary_dim,
            rope_theta=1e6,
            factor=4.0,
            original_max_position_embeddings=32768,
        )


@dataclass
class Inputs:
    """The tensors of a case."""

    q: Tensor
    k: Tensor
    position_ids: Tensor
    table: RotaryTable
    inv_freq: Tensor
    attention_factor: float


MODELS = {
    "llama-3.1-8b": Case("llama-3.1-8b", 32, 8, 128, 128, 4096),
    "qwen3-32b": Case("qwen3-32b", 64, 8, 128, 128, 1024),
    "few-heads": Case("few-heads", 8, 1, 128, 128, 4096),
    "gpt-oss-20b": Case("gpt-oss-20b", 64, 8, 64, 64, 1024),
    "deepseek-v3-mla": Case("deepseek-v3-mla", 128, 1, 64, 64, 1024),
    "glm-4-9b": Case("glm-4-9b", 32, 2, 128, 64, 1024),
    "gpt-neox-20b": Case("gpt-neox-20b", 64, 64, 96, 24, 512),
}


def prefill(model: str, dtype: str, tokens: int | None = None) -> Case:
    """Give a model's case at its own, or another, number of tokens."""
    case = MODELS[model]
    return replace(case, dtype=dtype, seqlen=tokens or case.seqlen)


def decode(model: str, dtype: str) -> Case:
    """Give a model's case at one token."""
    return replace(MODELS[model], name=f"{model} decode", dtype=dtype, seqlen=1)


def make_inputs(case: Case) -> Inputs:
    """Make a case's tensors from a fixed seed, on the CPU."""
    generator = torch.Generator().manual_seed(0)
    dtype = DTYPES[case.dtype]
    q, k = (
        torch.randn(1, case.seqlen, n, case.head_dim, generator=generator).to(dtype)
        for n in (case.nheads, case.nheads_k)
    )
    scaling = case.scaling()
    # The last tokens of a window of 32768: where a decode happens.
    position_ids = torch.arange(32768 - case.seqlen, 32768).unsqueeze(0)
    return Inputs(
        q, k, position_ids, RotaryTable(scaling), scaling.inv_freq, scaling.attention_factor
    )
