"""RoPE without scaling (arXiv:2104.09864, eq. 15)."""

from __future__ import annotations

from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies, plain_inv_freq, unscaled
from .rule import ConfigRule


class Default(ConfigRule):
    """`inv_freq = theta ** (-2 j / D)`."""

    rope_type = "default"

    def parameters(self, **shared: object) -> Parameters:
        return self.shared(**shared)

    def frequencies(self, p: Parameters) -> Frequencies:
        return unscaled(plain_inv_freq(p.rope_theta, p.frequency_dim))

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset()

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p)
