"""Dynamic YaRN (arXiv:2309.00071, sec. 3.3). Transformers has no such rule."""

from __future__ import annotations

import dataclasses

from typing_extensions import Unpack

from .. import validate as check
from ..parameters import Parameters
from .blend import MagnitudeBlend
from .rule import SharedKeys, optional_length


class DynamicYarn(MagnitudeBlend):
    """YaRN of `factor = max(1, seq_len / L)`."""

    rope_type = "dynamic_yarn"

    def parameters(
        self,
        *,
        original_max_position_embeddings: object,
        seq_len: object = None,
        beta_fast: object = 32.0,
        beta_slow: object = 1.0,
        attention_factor: object = None,
        mscale: object = None,
        mscale_all_dim: object = None,
        truncate: object = True,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        base = self.shared(**shared)
        base = self.magnitude_parameters(base, attention_factor, mscale, mscale_all_dim)
        base = dataclasses.replace(base, seq_len=optional_length("seq_len", seq_len, low=0))
        length = check.length("original_max_position_embeddings", original_max_position_embeddings)
        return self.blend_parameters(
            base,
            factor=1.0 if base.seq_len is None else max(1.0, base.seq_len / length),
            original_max_position_embeddings=length,
            beta_fast=beta_fast,
            beta_slow=beta_slow,
            truncate=truncate,
        )

    def at_length(self, p: Parameters, tokens: int) -> Parameters:
        return dataclasses.replace(super().at_length(p, tokens), seq_len=tokens)
