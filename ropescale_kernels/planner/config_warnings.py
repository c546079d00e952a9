"""Warnings about usual mistakes in a config, given the wanted length."""

from __future__ import annotations

from ..scaling import RopeScaling
from ..scaling.config.model_config import ModelConfig
from ..scaling.config.model_types.trained_lengths import DUAL_CHUNK_KEY
from .layers import widest_window
from .scaling_rule import parameters_of, rule_of, title_of
from .trained_length import TrainedLength, card_length


def config_warnings(
    model: ModelConfig, current: RopeScaling, lengths: TrainedLength, target: int
) -> list[str]:
    """Return warnings about values that are likely mistakes.

    Args:
        model: The model's config.
        current: The scaling of the config as it is.
        lengths: Lengths of the model.
        target: Length wanted, tokens.
    """
    found = []
    rule = rule_of(current)
    beyond = target > lengths.reach
    shorter = lengths.original != lengths.maximum < target
    if beyond and not rule.is_scaling and shorter:
        found.append(
            f"The factor counts from the {lengths.original:,} tokens of training "
            f"({lengths.source}); max_position_embeddings {lengths.maximum:,} would give "
            f"{target / lengths.maximum:g}."
        )
    by_card = card_length(model, lengths.maximum) == lengths.original
    if by_card and not beyond and not rule.is_scaling and lengths.original < target:
        found.append(
            f"The model was trained on {lengths.original:,} tokens ({lengths.source}). Its model "
            f"card serves {lengths.reach:,} without scaling; beyond, the factor counts from "
            f"{lengths.original:,}."
        )
    if lengths.is_guess and not rule.is_scaling:
        found.append(
            "The config does not say what the model was trained on, so "
            f"{lengths.source} {lengths.maximum:,} is taken for it; if that is wrong, give "
            "--original-length."
        )
    counted = lengths.maximum != model.get("max_position_embeddings")
    if beyond and rule.factor_counts_from == "maximum" and not counted:
        longer = int(lengths.maximum * current.factor)
        name = title_of(rule.rope_type)
        found.append(
            f"A {name} config does not say whether its longest length counts the factor; it is "
            f"taken to. If the model was trained for {current.factor:g} times "
            f"{lengths.maximum:,}, it serves {longer:,} tokens with the factor that it has."
        )
    if model.get(DUAL_CHUNK_KEY) is not None:
        found.append(
            "dual_chunk_attention_config is not read here: beyond its own length the model counts "
            "on that attention, which not every engine has."
        )
    if rule.factor_counts_from == "original":
        found += _warnings_of_length(model, current, lengths, beyond)
    if not beyond:
        found += rule.doubts(parameters_of(current))
    kept = widest_window(model)
    if kept is not None and kept < target:
        found.append(f"No layer sees beyond its window of {kept:,} tokens, scaled or not.")
    return found


def _warnings_of_length(
    model: ModelConfig, current: RopeScaling, lengths: TrainedLength, beyond: bool
) -> list[str]:
    found = []
    if not beyond and current.factor > 1 and lengths.maximum == lengths.original:
        found.append(
            "max_position_embeddings equals original_max_position_embeddings: implementations "
            "that take their ratio for the factor (hf-4.51) scale nothing."
        )
    card = card_length(model, lengths.original)
    if card is not None:
        found.append(
            f"original_max_position_embeddings {lengths.original:,} is the "
            f"max_position_embeddings of {model.model_type}, which was trained on {card:,}: the "
            f"{'ramp is in the wrong place and the ' if current.is_blend else ''}factor too small."
        )
    return found
