"""SGLang's rotation, compiled just in time, as SGLang's rotary layer calls it."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from . import _engine


@cache
def _load() -> _engine.Rotate:
    try:
        from sglang.kernels.ops.attention.rope import apply_rope_inplace
    except ImportError:
        module = _engine.prebuilt("sglang_rope.so")

        def rotate(positions: Tensor, q: Tensor, k: Tensor, cache: Tensor) -> None:
            rotary_dim = cache.shape[-1]
            dtype = str(q.dtype).removeprefix("torch.")
            run = getattr(module, f"run_rope_{rotary_dim}_{dtype}")
            run(q[..., :rotary_dim], k[..., :rotary_dim], cache, positions)

        return rotate

    def installed(positions: Tensor, q: Tensor, k: Tensor, cache: Tensor) -> None:
        rotary_dim = cache.shape[-1]
        apply_rope_inplace(q[..., :rotary_dim], k[..., :rotary_dim], cache, positions, is_neox=True)

    return installed


BASELINE = _engine.baseline("SGLang JIT rope", "sglang", _load)
