"""YaRN (arXiv:2309.00071): a ramp over the pairs, and a magnitude on q and k."""

from __future__ import annotations

from typing_extensions import Unpack

from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..magnitude import get_mscale, yarn_attention_factor
from ..parameters import Parameters
from . import yarn_keys
from .blend import RAMP_KEYS, MagnitudeBlend
from .extension import Extension, LlamaCpp, LongerContext
from .rule import ConfigRule, SharedKeys

# Largest distance of a written attention factor from the one of the formula.
_SAME_FACTOR = 1e-6


class Yarn(MagnitudeBlend, ConfigRule):
    """`inv_freq = (1 - ramp) / pos_freqs + ramp / (factor * pos_freqs)`."""

    rope_type = "yarn"
    title = "YaRN"
    factor_counts_from = "original"
    no_extension = None
    own_keys = frozenset(
        {*RAMP_KEYS, "attention_factor", "attn_factor", "mscale", "mscale_all_dim"}
    )
    takes_odd_share = False
    needs_head_dim = True

    def parameters(
        self,
        *,
        factor: object,
        original_max_position_embeddings: object,
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
        return self.blend_parameters(
            base,
            factor=check.scale_factor(factor),
            original_max_position_embeddings=original_max_position_embeddings,
            beta_fast=beta_fast,
            beta_slow=beta_slow,
            truncate=truncate,
        )

    def extended(self, p: Parameters, wanted: LongerContext) -> Extension:
        factor, remarks = wanted.target / wanted.original, []
        # A key "type" is kept, because a model's own code may read the rule's name there.
        rope = {
            **wanted.given,
            **wanted.kept,
            "rope_type": self.rope_type,
            "factor": factor,
            "original_max_position_embeddings": wanted.original,
            "rope_theta": p.rope_theta,
        }
        if p.attention_factor is not None:
            longer = _formula(p, factor)
            if abs(p.attention_factor - _formula(p, p.factor)) < _SAME_FACTOR:
                # Written out, because an engine that merges keys would keep the old number.
                rope["attention_factor"] = longer
                remarks.append(
                    f"attention_factor {p.attention_factor!r} is the formula's at factor "
                    f"{p.factor:g}; at factor {factor:g} that is {longer:.6g}."
                )
            else:
                remarks.append(
                    f"attention_factor stays {p.attention_factor!r}, as the model was made; the "
                    f"formula would give {longer:.6g} at factor {factor:g}."
                )
        return Extension(rope, factor, remarks)

    def llama_cpp(self, p: Parameters) -> LlamaCpp:
        flags = ["--rope-scaling", "yarn", "--rope-scale", repr(p.factor)]
        flags += ["--yarn-orig-ctx", str(p.length())]
        if (p.beta_fast, p.beta_slow) != (32.0, 1.0):
            betas = (f"{p.beta_fast:g}", f"{p.beta_slow:g}")
            flags += ["--yarn-beta-fast", betas[0], "--yarn-beta-slow", betas[1]]
        return LlamaCpp(flags, get_mscale(p.factor))

    def doubts(self, p: Parameters) -> list[str]:
        given, formula = p.attention_factor, _formula(p, p.factor)
        if given is None or given == 1 or abs(given - formula) <= _SAME_FACTOR:
            return []
        return [
            f"attention_factor {given!r} is not the formula's {formula:.6g} at "
            f"factor {p.factor:g}: left over from another factor?"
        ]

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return yarn_keys.keys(entry)

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        arguments = yarn_keys.arguments(entry, seq_len)
        return ("default", {}) if arguments is None else (self.rope_type, arguments)

    def keys_beside_layer_types(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset({"truncate"} if yarn_keys.reads_truncate_beside(entry) else ())

    def scales_softmax(self, entry: RopeEntry) -> bool:
        return yarn_keys.scales_softmax(entry)

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, *RAMP_KEYS, "attention_factor", "mscale", "mscale_all_dim")


def _formula(p: Parameters, factor: float) -> float:
    """Return the attention factor that the formula gives at a factor."""
    return yarn_attention_factor(factor, None, p.mscale, p.mscale_all_dim)
