"""Transformers' rotary embedding and rotation, as the attention of Llama calls them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..cases import WINDOW, Case, Inputs
from ._baseline import Baseline, Call, Pair, inv_freq_bytes, package_version


@cache
def _llama() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.models.llama import modeling_llama
    return modeling_llama


def _unavailable(device: torch.device) -> str | None:
    try:
        _llama()
    except ImportError as error:
        return str(error)
    return None


def _config(case: Case) -> Any:
    from transformers import LlamaConfig

    scaling = case.scaling()
    keys: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": scaling.factor,
        "original_max_position_embeddings": WINDOW,
    }
    if int(package_version("transformers").split(".")[0]) >= 5:
        rope: dict[str, Any] = {"rope_parameters": keys | {"rope_theta": scaling.rope_theta}}
    else:
        rope = {"rope_scaling": keys, "rope_theta": scaling.rope_theta}
    # Llama rotates whole heads, so head_dim is the rotated part of a head.
    return LlamaConfig(head_dim=case.rotary_dim, max_position_embeddings=4 * WINDOW, **rope)


def _prepare(inputs: Inputs) -> Call:
    llama = _llama()
    embedding = llama.LlamaRotaryEmbedding(_config(inputs.case)).to(inputs.q.device)
    rotary_dim = inputs.case.rotary_dim

    def bind(q: Tensor, k: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        q, k = q.transpose(1, 2), k.transpose(1, 2)

        def run() -> tuple[Tensor, Tensor]:
            cos, sin = embedding(q, inputs.position_ids)
            if rotary_dim == q.shape[-1]:
                rotated: tuple[Tensor, Tensor] = llama.apply_rotary_pos_emb(q, k, cos, sin)
                return rotated
            front = llama.apply_rotary_pos_emb(q[..., :rotary_dim], k[..., :rotary_dim], cos, sin)
            q_out, k_out = (
                torch.cat([x, whole[..., rotary_dim:]], -1)
                for x, whole in zip(front, (q, k), strict=True)
            )
            return q_out, k_out

        return run

    def result() -> Pair:
        q_out, k_out = bind(inputs.q, inputs.k)()
        return q_out.transpose(1, 2), k_out.transpose(1, 2)

    return Call(inputs, bind, result)


BASELINE = Baseline(
    "Transformers eager",
    _prepare,
    _unavailable,
    table_bytes=inv_freq_bytes,
    version=lambda: package_version("transformers"),
)
