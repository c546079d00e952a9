"""FlashInfer's rotation by a table of cos and sin, as vLLM and SGLang call it."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from ..cases import Case
from . import _engine

_HEAD_DIMS = (64, 128, 256, 512)


@cache
def _load() -> _engine.Rotate:
    try:
        from flashinfer.rope import apply_rope_with_cos_sin_cache_inplace
    except ImportError:
        module = _engine.prebuilt("flashinfer_rope.so")

        def rotate(positions: Tensor, q: Tensor, k: Tensor, cache: Tensor) -> None:
            module.apply_rope_pos_ids_cos_sin_cache(q, k, q, k, cache, positions, False)

        return rotate

    def installed(positions: Tensor, q: Tensor, k: Tensor, cache: Tensor) -> None:
        apply_rope_with_cos_sin_cache_inplace(
            positions, q.flatten(1), k.flatten(1), q.shape[-1], cache, is_neox=True
        )

    return installed


def _unsupported(case: Case) -> str | None:
    if case.head_dim not in _HEAD_DIMS:
        return f"head_dim {case.head_dim} is not one of {', '.join(map(str, _HEAD_DIMS))}"
    return _engine.unsupported(case)


BASELINE = _engine.baseline("FlashInfer", "flashinfer-python", _load, _unsupported)
