"""An fma of one rounding for interpreters of Triton that multiply and then add (before 3.9)."""

from __future__ import annotations

from typing import Any

import numpy as np


def fma(x: Any, y: Any, z: Any) -> Any:
    """Compute x * y + z of float32 arrays, rounded once.

    The product is exact in float64. The sum is rounded there to odd, which a second rounding, to
    less than half the digits, cannot tell from the exact sum.
    """
    product = x.astype(np.float64) * y.astype(np.float64)
    z = z.astype(np.float64)
    total = product + z
    # What the rounding of the sum left out, exactly (Knuth's two-sum).
    part = total - product
    rest = (product - (total - part)) + (z - part)
    bits = total.view(np.int64)
    inexact = np.isfinite(total) & (rest != 0) & (bits & 1 == 0)
    # Towards the rest: away from zero where it has the sign of the sum.
    step = np.where((rest > 0) == (total > 0), 1, -1)
    return np.where(inexact, (bits + step).view(np.float64), total).astype(np.float32)


def install() -> None:
    """Put it into the interpreter."""
    from triton.runtime import interpreter

    def create_fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        if z.data.dtype == np.float32:
            result = fma(*np.broadcast_arrays(x.data, y.data, z.data))
        else:
            result = x.data * y.data + z.data
        return interpreter.TensorHandle(result, z.dtype.scalar)

    interpreter.InterpreterBuilder.create_fma = create_fma
