"""One call of an operator, from the public function to an implementation."""

from .rotary_cos_sin import apply_rotary_cos_sin
from .rotary_qk import apply_rotary_qk, apply_rotary_qk_

__all__ = ["apply_rotary_cos_sin", "apply_rotary_qk", "apply_rotary_qk_"]
