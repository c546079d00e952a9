"""Rows of cos and sin that a caller holds: the order of their values, and the axes of their shape.

If the arguments leave two readings, the error names both.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RopeScaleTypeError, RopeScaleValueError, expected

# The orders of a row of the pairs' values c0, c1, ..: c0 c1 .., c0 c1 .. c0 c1 .., c0 c0 c1 c1 ..
ORDERS = ("half", "doubled", "repeated")
_HINT = (
    "One value a pair is 'half', torch.cat((x, x), -1) 'doubled', x.repeat_interleave(2, -1) "
    "'repeated'."
)


def order_of(
    rows: str | None,
    rotary_dim: int | None,
    shape: Sequence[int],
    head_dim: int,
    interleaved: bool,
) -> tuple[str, int]:
    """Return the order of given rows, and the number of rotated channels.

    Args:
        rows: One of ORDERS, or None if the other arguments leave one reading.
        rotary_dim: Channels rotated, or None.
        shape: The shape of cos.
        head_dim: Channels of a head.
        interleaved: Whether pairs are interleaved.

    Raises:
        RopeScaleTypeError: `rows` is no str, or `rotary_dim` no int.
        RopeScaleValueError: Values that do not go together, or that leave two readings.
    """
    if rotary_dim is not None or rows not in ORDERS:
        _check_values(rows, rotary_dim, head_dim)
    width = shape[-1] if len(shape) else 0
    if rows is None:
        rows = _only_order(rotary_dim, width, tuple(shape), head_dim, interleaved)
    resolved = 2 * width if rows == "half" else width
    if rotary_dim is not None and rotary_dim != resolved:
        want = f"{resolved} for {rows!r} rows of cos of shape {tuple(shape)}"
        raise RopeScaleValueError(expected("rotary_dim", want, rotary_dim))
    if resolved % 2 or not 2 <= resolved <= head_dim:
        most = head_dim // 2 if rows == "half" else head_dim
        want = f"a width of at most {most} for {rows!r} rows and head_dim {head_dim}"
        if resolved % 2:
            want = f"an even width for {rows!r} rows"
        raise RopeScaleValueError(expected("cos", want, f"shape {tuple(shape)}"))
    return rows, resolved


def _check_values(rows: object, rotary_dim: object, head_dim: int) -> None:
    if rows is not None and not isinstance(rows, str):
        raise RopeScaleTypeError(expected("rows", "a str or None", type(rows).__name__))
    if rows is not None and rows not in ORDERS:
        raise RopeScaleValueError(expected("rows", "'half', 'doubled' or 'repeated'", rows, _HINT))
    if rotary_dim is None:
        return
    if isinstance(rotary_dim, bool) or not isinstance(rotary_dim, int):
        raise RopeScaleTypeError(expected("rotary_dim", "an int", type(rotary_dim).__name__))
    if rotary_dim % 2 or not 2 <= rotary_dim <= head_dim:
        want = f"an even number from 2 to head_dim = {head_dim}"
        raise RopeScaleValueError(expected("rotary_dim", want, rotary_dim))


def _only_order(
    rotary_dim: int | None, width: int, shape: tuple[int, ...], head_dim: int, interleaved: bool
) -> str:
    """Return the one order that rows may have, or raise an error that names the orders."""
    readings = {"half": 2 * width, "doubled": width}
    if interleaved:
        readings["repeated"] = width
    if rotary_dim is None:
        fits = {order: n for order, n in readings.items() if n % 2 == 0 and 2 <= n <= head_dim}
        # A width of at most head_dim // 2 fits half rows of a whole head, and doubled rows of a
        # partial rotation.
        if list(fits) == ["doubled"]:
            return "doubled"
        if not fits:
            want = f"a width of rotary_dim // 2 or rotary_dim, at most head_dim = {head_dim}"
            raise RopeScaleValueError(expected("cos", want, f"shape {shape}"))
    else:
        fits = {order: n for order, n in readings.items() if n == rotary_dim}
        if len(fits) == 1:
            return next(iter(fits))
        if not fits:
            want = f"a width of {rotary_dim // 2} or {rotary_dim} for rotary_dim {rotary_dim}"
            raise RopeScaleValueError(expected("cos", want, f"shape {shape}"))
    *others, last = [f"{order!r} (rotary_dim {n})" for order, n in fits.items()]
    words = f"{', '.join(others)} or {last}" if others else last
    want = f"the order of cos of shape {shape} by name: {words}"
    raise RopeScaleValueError(expected("rows", want, None, _HINT))


def head_axes(
    name: str, shape: Sequence[int], tokens: Sequence[int], num_axes: int = 0
) -> tuple[int, ...]:
    """Return the axes of size 1 that stand where heads are.

    Args:
        name: The argument.
        shape: The shape of one row per token.
        tokens: (batch, seqlen) or (num_tokens,).
        num_axes: Rows of a token, one for each M-RoPE axis; 0 if rows have no such axis.

    Raises:
        RopeScaleValueError: A shape that is not one row per token, or a shape with two readings:
            `(n, 1, 1, width)` if n sequences have n tokens each, and `(n, seqlen, width)` if there
            are n axes and n sequences.
    """
    lead = 1 if num_axes else 0
    if num_axes and (len(shape) < 3 or shape[0] != num_axes):
        want = f"a leading axis of {num_axes} (one per M-RoPE section)"
        raise RopeScaleValueError(expected(name, want, f"shape {tuple(shape)}"))
    if num_axes > 1 and _axes_beside_tokens(tuple(shape[:-1]), tokens) is not None:
        want = f"{num_axes} axes before (batch, seqlen, width)"
        got = f"shape {tuple(shape)}, which may lack the axes or the batch"
        raise RopeScaleValueError(expected(name, want, got))
    found = _axes_beside_tokens(tuple(shape[lead:-1]), tokens)
    if found is None:
        raise RopeScaleValueError(_not_per_token(name, tuple(shape), tokens, num_axes))
    if len(found) == 2 and len(tokens) == 2 and 1 != tokens[0] == tokens[1]:
        want = f"a shape that tells positions from sequences, of which there are {tokens[0]} each"
        hint = "Pass (seqlen, width), or expand it to (batch, seqlen, width)."
        raise RopeScaleValueError(expected(name, want, f"shape {tuple(shape)}", hint))
    return tuple([lead + axis for axis in found])


def _shapes_per_token(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    shapes = [tuple(tokens)]
    if len(tokens) == 2:
        shapes += [(1, tokens[1]), (tokens[1],)]
    return shapes


def _axes_beside_tokens(shape: tuple[int, ...], tokens: Sequence[int]) -> tuple[int, ...] | None:
    shapes = _shapes_per_token(tokens)
    for axes in ((), (1,), (2,), (1, 2)):
        if axes and (len(shape) <= axes[-1] or any(shape[axis] != 1 for axis in axes)):
            continue
        rest = tuple([n for axis, n in enumerate(shape) if axis not in axes])
        # Lengths first, because a tracer is not to compare the sizes of shapes of other lengths.
        if any(len(rest) == len(each) and rest == each for each in shapes):
            return axes
    return None


def _not_per_token(name: str, shape: tuple[int, ...], tokens: Sequence[int], num_axes: int) -> str:
    front, width = ((num_axes,) if num_axes else ()), shape[-1:]
    shapes = dict.fromkeys((*front, *each, *width) for each in _shapes_per_token(tokens))
    want = "shape " + " or ".join(str(each) for each in shapes)
    want += ", perhaps with axes of size 1 for heads"
    hint = ""
    if not num_axes and len(shape) > 2 and _axes_beside_tokens(shape[1:-1], tokens) is not None:
        hint = "Rows of several M-RoPE axes need mrope_section."
    return expected(name, want, f"shape {shape}", hint)
