"""Proportional RoPE: only the first share of the pairs turns; the others have frequency 0."""

from __future__ import annotations

import dataclasses

import torch
from typing_extensions import Unpack

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies, divided
from .rule import ConfigRule, SharedKeys


class Proportional(ConfigRule):
    """Plain RoPE of the first pairs, whose exponent counts the whole head."""

    rope_type = "proportional"
    first_release = 5
    own_keys = frozenset({"factor"})
    takes_share = True
    no_extension = "No rule of Transformers scales a head of which only some pairs turn."

    def parameters(
        self,
        *,
        partial_rotary_factor: object = 1.0,
        factor: object = 1.0,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        base = self.shared(**shared)
        share = check.proportion("partial_rotary_factor", partial_rotary_factor)
        if _turning_pairs(base.rotary_dim, share) < 1:
            requirement = f"a share that turns at least one of {base.rotary_dim // 2} pairs"
            raise RopeScaleConfigError(expected("partial_rotary_factor", requirement, share))
        return dataclasses.replace(
            base, factor=check.scale_factor(factor), partial_rotary_factor=share
        )

    def frequencies(self, p: Parameters) -> Frequencies:
        dim, turning = p.frequency_dim, self.turning_pairs(p)
        inv_freq = torch.zeros(dim // 2, dtype=torch.float32, device="cpu")
        exponent = torch.arange(0, 2 * turning, 2, dtype=torch.float32, device="cpu") / dim
        inv_freq[:turning] = 1.0 / torch.pow(p.rope_theta, exponent)
        return divided(inv_freq, p.factor)

    def turning_pairs(self, p: Parameters) -> int:
        assert p.partial_rotary_factor is not None
        return _turning_pairs(p.frequency_dim, p.partial_rotary_factor)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset({"factor"})

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {"factor": entry.parameters.get("factor", 1.0)}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, "factor", "partial_rotary_factor")


def _turning_pairs(dim: int, partial_rotary_factor: float) -> int:
    return int(partial_rotary_factor * dim // 2)
