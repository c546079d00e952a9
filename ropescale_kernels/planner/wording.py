"""Sentences of a plan."""

from __future__ import annotations

from ..scaling import RopeScaling
from ..scaling.rules.extension import Extension
from .inspect import KEPT, pairs
from .scaling_rule import rule_of, title_of
from .trained_length import TrainedLength


def verdict(
    current: RopeScaling,
    lengths: TrainedLength,
    extension: Extension | None,
    target: int,
    stops: str,
) -> str:
    """Return whether scaling is needed, and which.

    Args:
        current: The scaling of the config as it is.
        lengths: Lengths of the model.
        extension: The new rope parameters, or None if the old ones stay.
        target: Length wanted, tokens.
        stops: The keys that have to be raised, with their numbers.
    """
    name = title_of(current.rope_type if extension is None else extension.rope["rope_type"])
    if extension is not None and rule_of(current).factor_counts_from == "maximum":
        return (
            f"More scaling is needed: the model serves {lengths.maximum:,} tokens with {name} "
            f"factor {current.factor:g}; {target:,} take {extension.factor:g}."
        )
    if extension is not None and lengths.original_length_missing:
        return (
            f"The config's {name} does not name the length that it counts from: "
            f"{lengths.original:,} is written beside factor {extension.factor:g}, which then "
            f"serves {int(lengths.original * extension.factor):,} tokens."
        )
    if extension is not None and current.factor > 1:
        return (
            f"More scaling is needed: {name} with factor {current.factor:g} reaches "
            f"{lengths.reach:,} tokens; {target:,} are {extension.factor:g} times the "
            f"{lengths.original:,} that it counts from."
        )
    if extension is not None:
        return (
            f"Scaling is needed: {target:,} tokens are {extension.factor:g} times the "
            f"{lengths.original:,} that the model was trained on. {name} with factor "
            f"{extension.factor:g}. Changing max_position_embeddings alone would scale nothing."
        )
    if stops and current.factor == 1:
        return (
            f"No scaling is needed: the model was trained on {lengths.original:,} tokens. Engines "
            f"stop at {stops}, which has to be raised."
        )
    if stops:
        return (
            f"No other scaling is needed: factor {current.factor:g} already reaches "
            f"{lengths.reach:,} tokens, but engines stop at {stops}, which has to be raised."
        )
    serves = f"No scaling is needed: the config serves {lengths.maximum:,} tokens as it is"
    if current.factor == 1:
        return f"{serves}. Limit the engine's length and change nothing."
    return f"{serves}, already scaled by {current.factor:g}. Limit the engine's length instead."


def short_requests(
    planned: RopeScaling, lengths: TrainedLength, new_to_the_model: bool
) -> list[str]:
    """Return the cost of a factor of L for requests within L, and how to avoid that cost.

    Args:
        planned: The scaling that results.
        lengths: Lengths of the model.
        new_to_the_model: Whether the model was trained without scaling.
    """
    if rule_of(planned).factor_counts_from != "original" or planned.factor == 1:
        return []
    changed = [pair for pair in pairs(planned, lengths.original) if pair.fate != KEPT]
    logits = planned.attention_factor**2 * planned.softmax_scale_multiplier
    fact = (
        f"Scaling is static in every engine: also within {lengths.original:,} tokens, "
        f"{len(changed)} of {planned.rotary_dim // 2} pairs turn slower and logits of rotated "
        f"channels are multiplied by {logits:.4g}."
    )
    if not new_to_the_model:
        return [
            fact,
            "A model that was trained with its scaling wants it at every length. If the keys were "
            "added later, to reach further, leave them out for requests within "
            f"{lengths.original:,} tokens.",
        ]
    return [
        fact,
        "If most requests are short, serve them unscaled: run a second instance of the engine, or "
        "in this package build one table of two profiles, RotaryTable([unscaled, scaled]), and "
        "choose by profile_ids for each request.",
    ]
