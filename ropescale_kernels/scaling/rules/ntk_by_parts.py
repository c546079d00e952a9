"""NTK-by-parts: YaRN's frequencies with an attention factor of 1 (arXiv:2309.00071, eq. 17-21)."""

from __future__ import annotations

from typing_extensions import Unpack

from .. import validate as check
from ..parameters import Parameters
from .blend import RAMP_KEYS, Blend
from .rule import SharedKeys


class NtkByParts(Blend):
    """A blend without a magnitude. Transformers has it as YaRN with `attention_factor` 1."""

    rope_type = "ntk_by_parts"

    def parameters(
        self,
        *,
        factor: object,
        original_max_position_embeddings: object,
        beta_fast: object = 32.0,
        beta_slow: object = 1.0,
        truncate: object = True,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        return self.blend_parameters(
            self.shared(**shared),
            factor=check.scale_factor(factor),
            original_max_position_embeddings=original_max_position_embeddings,
            beta_fast=beta_fast,
            beta_slow=beta_slow,
            truncate=truncate,
        )

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        keys = self.named_keys(p, *RAMP_KEYS)
        return {**keys, "rope_type": "yarn", "attention_factor": 1.0}
