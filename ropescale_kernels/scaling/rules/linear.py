"""Position interpolation (arXiv:2306.15595)."""

from __future__ import annotations

import dataclasses

from typing_extensions import Unpack

from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .extension import Extension, LlamaCpp, LongerContext
from .frequencies import Frequencies, divided, plain_inv_freq
from .rule import ConfigRule, SharedKeys


class Linear(ConfigRule):
    """Every frequency divided by the factor."""

    rope_type = "linear"
    own_keys = frozenset({"factor"})
    factor_counts_from = "maximum"
    no_extension = None

    def parameters(self, *, factor: object, **shared: Unpack[SharedKeys]) -> Parameters:
        base = self.shared(**shared)
        return dataclasses.replace(base, factor=check.scale_factor(factor))

    def frequencies(self, p: Parameters) -> Frequencies:
        return divided(plain_inv_freq(p.rope_theta, p.frequency_dim), p.factor)

    def extended(self, p: Parameters, wanted: LongerContext) -> Extension:
        factor = p.factor * wanted.target / wanted.maximum
        rope = {"rope_type": self.rope_type, "factor": factor, **wanted.kept}
        remark = (
            "Position interpolation moves fast pairs too, which costs quality without further "
            "training (arXiv:2309.00071, sec. 3.1)."
        )
        return Extension({**rope, "rope_theta": p.rope_theta}, factor, [remark])

    def llama_cpp(self, p: Parameters) -> LlamaCpp:
        return LlamaCpp(["--rope-scaling", "linear", "--rope-scale", repr(p.factor)], 1.0)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset({"factor"})

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        return self.rope_type, {"factor": entry.parameter("factor")}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, "factor")
