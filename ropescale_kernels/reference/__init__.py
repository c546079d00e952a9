"""The definition of the operators, slow and in plain Python.

`precision="float64"` gives the true values that errors are measured from. `precision="bits"` spells
out the float32 operations whose results every implementation reproduces bit for bit.
"""

from __future__ import annotations

from .apply import apply_rotary_cos_sin, apply_rotary_qk
from .phase import (
    blend_inv_freq_bits,
    phase_from_position,
    sincos_bits,
    turns_from_float32,
    turns_from_float64,
)
from .rotation import rotate_bits

__all__ = [
    "apply_rotary_cos_sin",
    "apply_rotary_qk",
    "blend_inv_freq_bits",
    "phase_from_position",
    "rotate_bits",
    "sincos_bits",
    "turns_from_float32",
    "turns_from_float64",
]
