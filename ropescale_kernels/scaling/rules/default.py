"""RoPE without scaling (arXiv:2104.09864, eq. 15)."""

from __future__ import annotations

from typing_extensions import Unpack

from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .extension import Extension, LongerContext
from .frequencies import Frequencies, plain_inv_freq, unscaled
from .rule import ConfigRule, SharedKeys


class Default(ConfigRule):
    """`inv_freq = theta ** (-2 j / D)`."""

    rope_type = "default"
    is_scaling = False
    no_extension = None

    def parameters(self, **shared: Unpack[SharedKeys]) -> Parameters:
        return self.shared(**shared)

    def frequencies(self, p: Parameters) -> Frequencies:
        return unscaled(plain_inv_freq(p.rope_theta, p.frequency_dim))

    def extended(self, p: Parameters, wanted: LongerContext) -> Extension:
        # A model without scaling gets YaRN.
        factor = wanted.target / wanted.original
        rope = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": wanted.original,
            **wanted.kept,
            "rope_theta": p.rope_theta,
        }
        return Extension(rope, factor)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset()

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p)
