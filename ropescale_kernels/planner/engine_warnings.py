"""How other implementations read a planned config."""

from __future__ import annotations

from ..scaling import RopeScaling
from ..scaling.config.dialects import BASELINE, DIALECTS, OTHER_ENGINES
from ..scaling.config.dialects.deepseek import DEEPSEEK
from ..scaling.config.model_config import ModelConfig
from .compare import DialectResult, Noted, compare_dialects
from .engine_commands import RELEASES
from .scaling_rule import parameters_of, rule_of

# Largest relative difference that float32 rounding leaves between equal frequencies.
_SAME = 1e-5


def compare_implementations(
    planned: ModelConfig, layer_type: str | None, found: Noted
) -> list[DialectResult]:
    """Return the scaling that each implementation reads in the planned config.

    Args:
        planned: The planned config.
        layer_type: The layer type that is scaled.
        found: Scaling and notes of the planned config in dialect "hf".
    """
    everyone = {**DIALECTS, **OTHER_ENGINES}
    if not planned.facts.softmax_mscale:
        # DeepSeek's own code runs DeepSeek's models and no others.
        del everyone[DEEPSEEK.name]
    return compare_dialects(planned, layer_type, dialects=everyone, known={BASELINE: found})


def engine_warnings(
    found: list[DialectResult], planned: RopeScaling, scaled_here: bool
) -> list[str]:
    """Return warnings about engines of `RELEASES` that compute something else.

    Args:
        found: Results of `compare_implementations`.
        planned: The scaling that results.
        scaled_here: Whether the scaling is not in the model's own files.
    """
    remarks = [
        f"{result.release} computes other frequencies from this config: up to "
        f"{result.inv_freq_error:.0%} off."
        for result in found
        if result.dialect in RELEASES
        and result.inv_freq_error is not None
        and result.inv_freq_error > _SAME
    ]
    if not scaled_here:
        return remarks
    spoken = rule_of(planned).llama_cpp(parameters_of(planned))
    if spoken is None:
        remarks.append(f"llama.cpp has no flags for rope_type {planned.rope_type!r}.")
        return remarks
    weight = planned.attention_factor / spoken.attention_factor
    if abs(weight - 1) > _SAME:
        remarks.append(
            f"llama.cpp has no flag for this magnitude: it multiplies by "
            f"{spoken.attention_factor:.6g} and by what the GGUF itself says (rope.scaling."
            f"attn_factor, yarn_log_multiplier), which would have to make {weight:.6g}."
        )
    return remarks


def other_magnitudes(found: list[DialectResult], planned: RopeScaling) -> list[DialectResult]:
    """Return the implementations that would multiply q, k or the softmax otherwise.

    Args:
        found: Results of `compare_implementations`.
        planned: The scaling that results.
    """
    if rule_of(planned).factor_counts_from != "original":
        return []
    return [result for result in found if result.other_magnitude]
