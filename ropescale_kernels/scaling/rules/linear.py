"""Position interpolation (arXiv:2306.15595)."""

from __future__ import annotations

import dataclasses

from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies, divided, plain_inv_freq
from .rule import ConfigRule


class Linear(ConfigRule):
    """Every frequency divided by the factor."""

    rope_type = "linear"
    own_keys = frozenset({"factor"})

    def parameters(self, *, factor: object, **shared: object) -> Parameters:
        base = self.shared(**shared)
        return dataclasses.replace(base, factor=check.scale_factor(factor))

    def frequencies(self, p: Parameters) -> Frequencies:
        return divided(plain_inv_freq(p.rope_theta, p.frequency_dim), p.factor)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset({"factor"})

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {"factor": entry.parameter("factor")}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, "factor")
