"""NTK-aware scaling (arXiv:2309.00071, eq. 16): a larger base. Transformers has no such rule."""

from __future__ import annotations

import dataclasses
import math

from typing_extensions import Unpack

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from ..parameters import Parameters
from ..validate import FLOAT32_MAX
from .frequencies import Frequencies, plain_inv_freq, unscaled
from .rule import Rule, SharedKeys


class Ntk(Rule):
    """The base becomes `theta * factor ** (D / (D - 2))`."""

    rope_type = "ntk"
    smallest_dim = 4
    no_extension = "Its base was raised once, by the alpha that it was trained with."

    def parameters(self, *, factor: object, **shared: Unpack[SharedKeys]) -> Parameters:
        base = self.shared(**shared)
        return dataclasses.replace(base, factor=check.scale_factor(factor))

    def frequencies(self, p: Parameters) -> Frequencies:
        return stretched(p, p.factor)

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        theta = ntk_theta(p.rope_theta, p.frequency_dim, p.factor)
        return {"rope_type": "default", "rope_theta": theta}


def ntk_theta(rope_theta: float, dim: int, stretch: float) -> float:
    """Return the NTK-aware base `theta * stretch ** (D / (D - 2))`.

    Args:
        rope_theta: Base before scaling.
        dim: D, above 2.
        stretch: Growth of the longest wavelength.

    Returns:
        The new base, infinite if float64 cannot hold it. Source: arXiv:2309.00071, eq. 16.
    """
    try:
        return float(rope_theta * stretch ** (dim / (dim - 2)))
    except OverflowError:
        return math.inf


def stretched(p: Parameters, stretch: float) -> Frequencies:
    """Return the tensors of plain RoPE whose longest wavelength grows by `stretch`.

    Raises:
        RopeScaleConfigError: If float32 cannot hold the new base.
    """
    # A huge factor loses the difference of its two products, and may leave a stretch below 1.
    theta = ntk_theta(p.rope_theta, p.frequency_dim, stretch) if stretch > 0 else 0.0
    if not 1.0 < theta <= FLOAT32_MAX:
        requirement = "a factor whose stretched rope_theta float32 can hold"
        got = f"{p.factor!r} with rope_theta={p.rope_theta!r}, seq_len={p.seq_len!r}"
        raise RopeScaleConfigError(expected("factor", requirement, got))
    return unscaled(plain_inv_freq(theta, p.frequency_dim))
