"""Checks of scaling parameters. A checked value is a plain Python number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from numbers import Integral, Real

import torch

from ..errors import (
    RopeScaleConfigError,
    RopeScaleTypeError,
    RopeScaleUnsupportedError,
    RopeScaleValueError,
    expected,
)
from ..names import MAX_HEAD_DIM

# Every integer up to this one is a float64, so the float arithmetic of the rules keeps lengths.
MAX_LENGTH = 2**53
# Python refuses to write out integers of thousands of digits.
_SHOWN_BITS = 8192
# A config is untrusted and may hold any number of keys; messages name the first of them.
SHOWN_KEYS = 8
FLOAT32_MAX = float(torch.finfo(torch.float32).max)
FLOAT32_TINY = float(torch.finfo(torch.float32).tiny)


def shown(value: object) -> str:
    """Return a short description of a value of any size: a config is untrusted."""
    if isinstance(value, str):
        return repr(value[:100])
    if isinstance(value, Sized):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def outside_graphs(name: str) -> None:
    """Refuse to build inside a graph, because a build reads values on the host.

    Args:
        name: What is built.

    Raises:
        RopeScaleUnsupportedError: If torch.compile or torch.export is at work.
    """
    if torch.compiler.is_compiling():
        hint = "Build it before, and use it inside."
        raise RopeScaleUnsupportedError(
            expected(name, "to be built outside torch.compile and torch.export", "a graph", hint)
        )


def number(name: str, value: object, requirement: str = "a finite number") -> float:
    """Return `value` as a finite float.

    Args:
        name: Argument or config key that messages name.
        value: The value to check. A bool or a str is no number.
        requirement: Text that messages give as expected.

    Returns:
        The value as a Python float.

    Raises:
        RopeScaleTypeError: For a tensor, because reading its value would wait for a device.
        RopeScaleConfigError: For anything else that is no finite number.
    """
    if isinstance(value, torch.Tensor):
        raise RopeScaleTypeError(
            expected(name, "a Python number", f"a tensor of shape {tuple(value.shape)}",
                     "Reading it would wait for its device: pass float(...) yourself.")
        )  # fmt: skip
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    return result


def bounded(
    name: str, value: object, low: float, high: float, requirement: str, *, open_low: bool = False
) -> float:
    """Return `value` as a float in [low, high], or in (low, high] if `open_low`.

    Raises:
        RopeScaleTypeError: For a tensor.
        RopeScaleConfigError: For no number, or one outside the range.
    """
    result = number(name, value, requirement)
    if result < low or result > high or (open_low and result == low):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    return result


def theta(value: object, name: str = "rope_theta") -> float:
    """Return the base of the frequencies: a number above 1 that float32 can hold."""
    requirement = "a finite number above 1 that float32 can hold"
    return bounded(name, value, 1.0, FLOAT32_MAX, requirement, open_low=True)


def scale_factor(value: object, name: str = "factor") -> float:
    """Return a context extension factor: a number of at least 1 that float32 can hold."""
    requirement = "a finite number of at least 1 that float32 can hold"
    return bounded(name, value, 1.0, FLOAT32_MAX, requirement)


def positive(name: str, value: object) -> float:
    """Return a positive number that float32 holds at full precision."""
    requirement = "a finite number above 0 that float32 can hold"
    return bounded(name, value, FLOAT32_TINY, FLOAT32_MAX, requirement)


def non_negative(name: str, value: object) -> float:
    """Return a number of at least 0 that float32 can hold."""
    requirement = "a finite number of at least 0 that float32 can hold"
    return bounded(name, value, 0.0, FLOAT32_MAX, requirement)


def proportion(name: str, value: object) -> float:
    """Return a fraction of a head: a number in (0, 1]."""
    return bounded(name, value, 0.0, 1.0, "a number above 0 and at most 1", open_low=True)


def length(name: str, value: object, low: int = 1) -> int:
    """Return a number of tokens: an integer from `low` to 2**53 (4096.0 counts as one)."""
    requirement = f"an integer from {low} to 2**53"
    result = bounded(name, value, low, MAX_LENGTH, requirement)
    # An integer beyond 2**53 may round to the limit as a float, so the integer is compared too.
    if result != int(result) or (isinstance(value, Integral) and int(value) > MAX_LENGTH):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    return int(result)


def dimension(name: str, value: object, low: int = 2, *, even: bool = True) -> int:
    """Return a number of channels: an integer from `low` to MAX_HEAD_DIM, even if asked."""
    kind = "an even integer" if even else "an integer"
    requirement = f"{kind} from {low} to {MAX_HEAD_DIM}"
    result = bounded(name, value, low, MAX_HEAD_DIM, requirement)
    if result != int(result) or (even and int(result) % 2):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    return int(result)


def shown_keys(keys: Iterable[object]) -> str:
    """Return the first keys of a config as a message lists them."""
    return ", ".join(shown(key) for key in [*keys][:SHOWN_KEYS])


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, bool):
        raise RopeScaleConfigError(expected(name, "True or False", shown(value)))
    return value


def sequence(name: str, value: object, size: int | None, requirement: str) -> Sequence[object]:
    """Return a list or tuple of `size` entries; the size is checked before any entry is read."""
    if isinstance(value, torch.Tensor):
        got = f"a tensor of shape {tuple(value.shape)}"
        raise RopeScaleTypeError(expected(name, "a list of Python numbers", got))
    if not isinstance(value, (list, tuple)):
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    if size is not None and len(value) != size:
        raise RopeScaleConfigError(expected(name, requirement, shown(value)))
    return value


def channel_factors(name: str, value: object, size: int) -> tuple[float, ...]:
    """Return one positive factor per pair of rotated channels."""
    entries = sequence(name, value, size, f"a list of {size} positive numbers, one per pair")
    return tuple(positive(f"{name}[{index}]", entry) for index, entry in enumerate(entries))


def seq_lens(value: object) -> torch.Tensor:
    """Return `value`, a 1-D int32 or int64 tensor of lengths, without reading its values.

    Raises:
        RopeScaleTypeError: If `value` is no tensor, or of another dtype.
        RopeScaleValueError: If `value` has another rank.
    """
    requirement = "an int32 or int64 tensor"
    if not isinstance(value, torch.Tensor):
        raise RopeScaleTypeError(expected("seq_lens", requirement, value))
    if value.dtype not in (torch.int32, torch.int64):
        raise RopeScaleTypeError(expected("seq_lens", requirement, str(value.dtype)))
    if value.dim() != 1:
        shape = f"a tensor of shape {tuple(value.shape)}"
        raise RopeScaleValueError(expected("seq_lens", "one dimension", shape))
    return value


def mrope_section(value: object, rotary_dim: int) -> tuple[int, ...] | None:
    """Return the pairs that each position axis rotates, which sum to rotary_dim / 2."""
    if value is None:
        return None
    half = rotary_dim // 2
    requirement = f"a list of at most {half} non-negative integers that sum to {half}"
    entries = sequence("mrope_section", value, None, requirement)
    if not 1 <= len(entries) <= half:
        raise RopeScaleConfigError(expected("mrope_section", requirement, shown(entries)))
    pairs = tuple(length("mrope_section", entry, low=0) for entry in entries)
    if sum(pairs) != half:
        raise RopeScaleConfigError(expected("mrope_section", requirement, list(pairs)))
    return pairs
