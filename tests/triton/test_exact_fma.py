"""The stand-in fma of old interpreters, against exact fractions."""

from __future__ import annotations

import numpy as np
from support.exact_fma import fma

from ropescale_kernels.reference import float32 as f32


def test_it_rounds_once() -> None:
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2**32, (3, 4000), dtype=np.uint64).astype(np.uint32)
    # Any magnitude; and sums that cancel, or land half-way.
    bits[:, 1000:] = bits[:, 1000:] & 0x81FFFFFF | 0x3F000000
    x, y, z = bits.view(np.float32)
    with np.errstate(all="ignore"):
        z[2000:3000] = -(x * y)[2000:3000]
        z[3000:] = np.where(bits[2, 3000:] % 2, 1, -1) * (x * y)[3000:] * 2.0**-24
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    with np.errstate(all="ignore"):
        got = fma(x, y, z)
    for a, b, c, result in zip(*(v[finite].tolist() for v in (x, y, z, got)), strict=True):
        assert f32.fma(a, b, c) == result or (a * b + c != a * b + c)
    assert finite.sum() > 3000
