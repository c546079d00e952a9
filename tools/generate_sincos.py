"""Derive the polynomial coefficients of sine and cosine, and the constant of turns, as two files.

With a in [-1, 1] in units of pi/4 and z = a*a, the kernels evaluate in float32, with fma,

    sine   = a*HI + a*(LO + z*(S1 + z*(S2 + z*S3)))          HI + LO = pi/4
    cosine = 1 + z*(C1 + z*(C2 + z*(C3 + z*C4)))

The coefficients minimise the largest absolute error (Remez exchange). They are rounded to float32
one after another, each time fitting the remaining ones to what is left; the neighbours of the first
one are tried too, and the set with the smallest error as evaluated in float32 is kept. Run without
arguments to rewrite both files, or with --check to compare them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import mpmath  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
HEADER = Path("csrc/math/sincos_coefficients.h")
MODULE = Path("ropescale_kernels/_sincos_coefficients.py")

NEIGHBOURS = 4  # units in the last place tried on either side of the first coefficient
SEARCH_SAMPLES = 1 << 17
REPORT_SAMPLES = 1 << 21

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Evaluate = Callable[[Float32s, Sequence[np.float32]], Float32s]

mpmath.mp.dps = 50
SINE_HI = np.float32(mpmath.pi / 4)
SINE_LO = np.float32(mpmath.pi / 4 - mpmath.mpf(float(SINE_HI)))


def minimax(target: Callable[[mpmath.mpf], mpmath.mpf], powers: Sequence[int]) -> list[mpmath.mpf]:
    """Fit a sum of powers to a function on (0, 1] with the least maximal absolute error.

    Args:
        target: The function, 0 at 0.
        powers: The exponents, positive and increasing.

    Returns:
        One coefficient per exponent (Remez exchange on a grid of Chebyshev points).
    """
    size = len(powers) + 1
    count = 400
    grid = [(1 - mpmath.cos(mpmath.pi * i / count)) / 2 for i in range(1, count + 1)]
    values = [target(a) for a in grid]
    nodes = [count * (i + 1) // size - 1 for i in range(size)]
    for _ in range(30):
        rows = [[grid[n] ** p for p in powers] + [(-1) ** i] for i, n in enumerate(nodes)]
        solution = list(mpmath.lu_solve(mpmath.matrix(rows), [values[n] for n in nodes]))
        error = [
            value - sum(c * a**p for c, p in zip(solution, powers, strict=False))
            for a, value in zip(grid, values, strict=True)
        ]
        exchanged = alternation(error, size)
        if exchanged == nodes:
            return solution[:-1]
        nodes = exchanged
    raise ArithmeticError("the exchange did not settle")


def alternation(error: Sequence[mpmath.mpf], size: int) -> list[int]:
    """Return `size` indices of largest |error|, one in each of as many runs of equal signs."""
    best = [0]
    for i in range(1, len(error)):
        if (error[i] > 0) != (error[best[-1]] > 0):
            best.append(i)
        elif abs(error[i]) > abs(error[best[-1]]):
            best[-1] = i
    while len(best) > size:
        best.pop(0 if abs(error[best[0]]) < abs(error[best[-1]]) else -1)
    return best


def rounded_fit(
    target: Callable[[mpmath.mpf], mpmath.mpf], powers: Sequence[int], offset: int = 0
) -> list[np.float32]:
    """Fit as `minimax` does, with float32 coefficients.

    Args:
        target: The function, 0 at 0.
        powers: The exponents, increasing.
        offset: Units in the last place to move the first coefficient by, before the refit.

    Returns:
        One coefficient per exponent.
    """
    first = np.float32(float(minimax(target, powers)[0]))
    first = np.float32(first + offset * np.spacing(first))
    if len(powers) == 1:
        return [first]

    def rest(a: mpmath.mpf) -> mpmath.mpf:
        return target(a) - mpmath.mpf(float(first)) * a ** powers[0]

    return [first, *rounded_fit(rest, powers[1:])]


def fma(x: Float32s, y: Float32s | np.float32, z: Float32s | np.float32) -> Float32s:
    # The product is exact in float64; the sum may be rounded twice, which moves a result by one
    # unit about once in 2^29: good enough to rank candidates and to estimate an error.
    return (x.astype(np.float64) * np.float64(y) + np.float64(z)).astype(np.float32)


def sine_float32(a: Float32s, s: Sequence[np.float32]) -> Float32s:
    z = a * a
    p = fma(z, fma(z, s[2], s[1]), s[0])
    return fma(a, SINE_HI, a * fma(z, p, SINE_LO))


def cosine_float32(a: Float32s, c: Sequence[np.float32]) -> Float32s:
    z = a * a
    q = fma(z, fma(z, fma(z, c[3], c[2]), c[1]), c[0])
    return fma(z, q, np.float32(1))


def sampled_error(
    evaluate: Evaluate, exact: Callable[[Float64s], Float64s], c: Sequence[np.float32], count: int
) -> float:
    """Return the largest error over `count` evenly spread reduced phases of [0, 1) * pi/4."""
    # An odd stride visits every remainder of the reduced phase's own rounding to float32.
    reduced = np.arange(count, dtype=np.int64) * (((1 << 31) // count) | 1) % (1 << 31)
    a = reduced.astype(np.float32) * np.float32(2.0**-31)
    truth = exact(reduced.astype(np.float64) * (np.pi / 4 * 2.0**-31))
    return float(np.max(np.abs(evaluate(a, c) - truth)))


def best_fit(
    target: Callable[[mpmath.mpf], mpmath.mpf],
    powers: Sequence[int],
    evaluate: Evaluate,
    exact: Callable[[Float64s], Float64s],
) -> list[np.float32]:
    """Return the coefficients with the smallest sampled error in float32 arithmetic."""
    candidates = [
        rounded_fit(target, powers, offset) for offset in range(-NEIGHBOURS, NEIGHBOURS + 1)
    ]
    return min(candidates, key=lambda c: sampled_error(evaluate, exact, c, SEARCH_SAMPLES))


def hexadecimal(x: np.float32) -> str:
    """Return the shortest hexadecimal form of a float32, without a suffix."""
    mantissa, exponent = float(x).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}"


def header_text(constants: Sequence[tuple[str, np.float32]], inverse: int) -> str:
    words = [inverse >> 64, inverse >> 32 & 0xFFFFFFFF, inverse & 0xFFFFFFFF]
    lines = [
        "// Generated by tools/generate_sincos.py; do not edit.",
        "#pragma once",
        "",
        "#include <stdint.h>",
        "",
        "namespace ropescale {",
        "",
        "// Minimax polynomials of both on [-pi/4, pi/4], the argument in units of pi/4.",
    ]
    for name, value in constants:
        camel = name.replace("_", " ").title().replace(" ", "")
        lines.append(f"constexpr float k{camel} = {hexadecimal(value)}f;")
    lines += ["", "// round(2^98 / (2 pi)), the most significant of three words first."]
    for place, word in zip((2, 1, 0), words, strict=True):
        lines.append(f"constexpr uint32_t kInvTwoPi{place} = 0x{word:08x}u;")
    return "\n".join([*lines, "", "}  // namespace ropescale", ""])


def module_text(constants: Sequence[tuple[str, np.float32]], inverse: int) -> str:
    lines = [
        '"""Constants of sine, cosine and turns; generated by tools/generate_sincos.py."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        "# Minimax polynomials of both on [-pi/4, pi/4], the argument in units of pi/4.",
    ]
    for name, value in constants:
        lines.append(f'{name}: Final = float.fromhex("{hexadecimal(value)}")')
    lines += ["", "# round(2^98 / (2 pi))", f"INV_TWO_PI_96: Final = 0x{inverse:024X}", ""]
    return "\n".join(lines)


def generate() -> tuple[dict[Path, str], float, float]:
    """Return the text of each file, and the sampled errors of sine and of cosine."""
    leading = mpmath.mpf(float(SINE_HI)) + mpmath.mpf(float(SINE_LO))
    quarter = mpmath.pi / 4
    sines = best_fit(
        lambda a: mpmath.sin(quarter * a) - leading * a, (3, 5, 7), sine_float32, np.sin
    )
    cosines = best_fit(lambda a: mpmath.cos(quarter * a) - 1, (2, 4, 6, 8), cosine_float32, np.cos)
    constants = [("SINE_HI", SINE_HI), ("SINE_LO", SINE_LO)]
    constants += [(f"SINE_{i}", c) for i, c in enumerate(sines, start=1)]
    constants += [(f"COSINE_{i}", c) for i, c in enumerate(cosines, start=1)]
    inverse = int(mpmath.nint(mpmath.ldexp(1, 98) / (2 * mpmath.pi)))
    texts = {HEADER: header_text(constants, inverse), MODULE: module_text(constants, inverse)}
    return (
        texts,
        sampled_error(sine_float32, np.sin, sines, REPORT_SAMPLES),
        sampled_error(cosine_float32, np.cos, cosines, REPORT_SAMPLES),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(description="Coefficients of sine and cosine.")
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder the files lie under")
    options = parser.parse_args(argv)
    texts, sine_error, cosine_error = generate()
    print(f"sampled absolute error: sine {sine_error:.3e}, cosine {cosine_error:.3e}")
    status = 0
    for path, text in texts.items():
        target = options.root / path
        if not options.check:
            target.write_text(text, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != text:
            print(f"{path} differs from what this script derives")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
