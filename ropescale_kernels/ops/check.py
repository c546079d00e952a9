"""Checks of a call: every user error is raised here, before anything is written.

The checks are part of the time of a one-token call, so they read each attribute once, and word a
message only for an error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ..errors import (
    RopeScaleTypeError,
    RopeScaleUnsupportedError,
    RopeScaleValueError,
    check_flag,
    expected,
)
from ..names import MAX_HEAD_DIM, MAX_ROW_AXES
from ..reference.given_rows import head_axes, order_of
from ..table.leaves import requires_grad
from ..table.mrope import refuse_without_section, sections_of
from ..table.state import TableState
from . import check_outputs, layout_hints
from .arguments import RotaryCosSinSpec, RotaryQKSpec, Spec
from .kinds import Argument, Kind, is_by_sequence
from .transforms import in_forward_ad, recorded

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)
_CONTIGUOUS_HINT = "Call .contiguous() on it."
_POSITIONS = RotaryQKSpec.ARGUMENTS["position_ids"]
_PROFILES = RotaryQKSpec.ARGUMENTS["profile_ids"]
_ROW_INDICES = RotaryCosSinSpec.ARGUMENTS["position_ids"]


def check_rotary_qk(
    q: Any,
    k: Any,
    position_ids: Any,
    table: Any,
    profile_ids: Any,
    *,
    interleaved: bool,
    conjugate: bool,
    phase: str,
    impl: str = "auto",
    out: Any = None,
    in_place: bool = False,
) -> RotaryQKSpec:
    """Check the arguments of `apply_rotary_qk` and of `apply_rotary_qk_`.

    Returns:
        The call, with `q_out` and `k_out` set if the caller gave them.

    Raises:
        RopeScaleTypeError: A dtype or kind; the message names the argument and the value.
        RopeScaleValueError: A shape, stride, range or device, or buffers that overlap.
        RopeScaleUnsupportedError: A nested tensor, or a tensor to write under torch.func or
            forward-mode AD.
        RopeScaleRuntimeError: A leaf that requires grad is written, under grad mode.
    """
    if not isinstance(table, TableState):
        hint = "Build one with RotaryTable(scaling)."
        raise RopeScaleTypeError(expected("table", "a RotaryTable", type(table).__name__, hint))
    check_flag("interleaved", interleaved)
    check_flag("conjugate", conjugate)
    if phase != "exact" and phase != "float32":
        raise RopeScaleValueError(expected("phase", "'exact' or 'float32'", phase))
    shape = check_heads(q, k)
    device = q.device
    if table.rotary_dim > shape[-1]:
        raise RopeScaleValueError(
            expected("table", f"rotary_dim <= head_dim = {shape[-1]}", table.rotary_dim)
        )
    if table.device != device:
        hint = f"Move it once with table.to({str(device)!r})."
        raise RopeScaleValueError(expected("table", f"device {device}", str(table.device), hint))
    tokens = shape[:-2]
    check_tokens("position_ids", position_ids, _POSITIONS, shape, device, table.num_axes)
    if profile_ids is not None:
        check_tokens("profile_ids", profile_ids, _PROFILES, shape, device)
        if len(profile_ids.shape) < len(tokens) and not is_by_sequence(profile_ids.shape, tokens):
            # The implementations read (batch,) from one axis, and (1, seqlen) from two.
            profile_ids = _with_batch_axis(profile_ids)
    spec = RotaryQKSpec(
        q=q,
        k=k,
        position_ids=position_ids,
        profile_ids=profile_ids,
        table=table,
        interleaved=interleaved,
        conjugate=conjugate,
        phase_float32=phase == "float32",
        impl=impl,
    )
    if in_place:
        spec.q_out, spec.k_out = q, k
        check_outputs.check_in_place(q, k)
    elif out is not None:
        spec.q_out, spec.k_out = check_outputs.check_out(q, k, out)
    return spec


def check_rotary_cos_sin(
    q: Any,
    k: Any,
    cos: Any,
    sin: Any,
    position_ids: Any,
    *,
    rows: str | None,
    rotary_dim: int | None,
    mrope_section: Any = None,
    mrope_interleaved: bool = False,
    interleaved: bool,
    conjugate: bool,
    impl: str = "auto",
    out: Any = None,
) -> RotaryCosSinSpec:
    """Check the arguments of `apply_rotary_cos_sin`.

    Returns:
        The call, whose rows are views of cos and sin: one value for each pair, or doubled values of
        which the first half is read, without axes for heads.

    Raises:
        RopeScaleTypeError: A dtype or kind; the message names the argument and the value.
        RopeScaleValueError: A shape, stride, range or device, or buffers that overlap.
        RopeScaleUnsupportedError: A nested tensor, or cos or sin that require grad.
        RopeScaleRuntimeError: `out` beside a tensor that requires grad, under grad mode.
    """
    check_flag("interleaved", interleaved)
    check_flag("conjugate", conjugate)
    check_flag("mrope_interleaved", mrope_interleaved)
    shape = check_heads(q, k)
    device = q.device
    for name, x in (("cos", cos), ("sin", sin)):
        check_kind(name, x)
        if x.dtype not in DTYPES:
            raise RopeScaleTypeError(expected(name, "float32, float16 or bfloat16", str(x.dtype)))
        if x.device != device:
            raise RopeScaleValueError(expected(name, f"device {device}", str(x.device)))
        if torch.is_grad_enabled() and requires_grad(x):
            raise RopeScaleUnsupportedError(
                expected(name, "a tensor that requires no grad", "one that does", "Detach it.")
            )
    if cos.dtype != sin.dtype:
        raise RopeScaleTypeError(expected("sin", f"{cos.dtype} as cos", str(sin.dtype)))
    if cos.shape != sin.shape:
        raise RopeScaleValueError(
            expected("sin", f"shape {tuple(cos.shape)} as cos", f"shape {tuple(sin.shape)}")
        )
    order, rotary_dim = order_of(rows, rotary_dim, cos.shape, shape[-1], interleaved)
    num_axes = 0
    refuse_without_section(mrope_section, mrope_interleaved)
    if mrope_section is not None:
        sections_of(mrope_section, mrope_interleaved, rotary_dim // 2)
        mrope_section = tuple(mrope_section)
        num_axes = len(mrope_section)
        if num_axes > MAX_ROW_AXES:
            raise RopeScaleValueError(
                expected("mrope_section", f"at most {MAX_ROW_AXES} axes", num_axes)
            )
    if position_ids is None:
        tokens = shape[:-2]
        # Lengths first, because a tracer is not to compare the sizes of shapes of other lengths.
        if num_axes or cos.dim() != len(tokens) + 1 or cos.shape[:-1] != tokens:
            axes = _head_axes(cos.shape, shape, num_axes)
            cos, sin = (_without_axes(x, axes) for x in (cos, sin))
        if num_axes:
            # All axes in front of rows of all tokens, which have one reading.
            cos, sin = (of_every_sequence(x, q) for x in (cos, sin))
    else:
        if num_axes:
            hint = "Pass the rows themselves: cos[position_ids], sin[position_ids]."
            want = "None where position_ids are row indices"
            raise RopeScaleValueError(expected("mrope_section", want, mrope_section, hint))
        if cos.dim() != 2:
            want = "shape (num_rows, width), as position_ids are row indices"
            raise RopeScaleValueError(expected("cos", want, f"shape {tuple(cos.shape)}"))
        check_tokens("position_ids", position_ids, _ROW_INDICES, shape, device)
    if order == "repeated":
        cos, sin = (_every_second(x) for x in (cos, sin))
    spec = RotaryCosSinSpec(
        q=q,
        k=k,
        cos=cos,
        sin=sin,
        position_ids=position_ids,
        rotary_dim=rotary_dim,
        interleaved=interleaved,
        conjugate=conjugate,
        impl=impl,
        mrope_section=mrope_section,
        mrope_interleaved=mrope_interleaved,
    )
    if out is not None:
        spec.q_out, spec.k_out = check_outputs.check_out(q, k, out)
    return spec


def _head_axes(cos: torch.Size, q: torch.Size, num_axes: int) -> tuple[int, ...]:
    """Return the axes of size 1 of cos that stand where heads are; errors as `head_axes`."""
    try:
        return head_axes("cos", cos, q[:-2], num_axes)
    except RopeScaleValueError as error:
        hint = layout_hints.of_tokens(cos[bool(num_axes) : -1], q)
        raise (RopeScaleValueError(f"{error}. {hint}") if hint else error) from None


@recorded
def _with_batch_axis(x: Tensor) -> Tensor:
    return x.unsqueeze(0)


@recorded
def _without_axes(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    # From the last axis on, because the axes behind a lost one move.
    for axis in reversed(axes):
        x = x.squeeze(axis)
    return x


@recorded
def _every_second(x: Tensor) -> Tensor:
    return x[..., ::2]


@recorded
def of_every_sequence(rows: Tensor, q: Tensor) -> Tensor:
    """Return a view `(axes, *tokens, width)` of rows that sequences may share."""
    tokens = q.shape[:-2]
    if rows.dim() < len(tokens) + 2:
        rows = rows.unsqueeze(1)
    return rows.expand(rows.shape[0], *tokens, rows.shape[-1])


def check_heads(q: Any, k: Any) -> torch.Size:
    """Check q and k, alone and against each other, and return q's shape."""
    check_kind("q", q)
    if q.dtype not in DTYPES:
        raise RopeScaleTypeError(expected("q", "float32, float16 or bfloat16", str(q.dtype)))
    shape: torch.Size = q.shape
    if k is not None:
        check_kind("k", k)
        if k.dtype != q.dtype:
            raise RopeScaleTypeError(expected("k", f"{q.dtype} as q", str(k.dtype)))
        if k.device != q.device:
            raise RopeScaleValueError(expected("k", f"device {q.device} as q", str(k.device)))
    if len(shape) != 3 and len(shape) != 4:
        want = "shape (batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim)"
        hint = layout_hints.flat("q") if len(shape) == 2 else ""
        raise RopeScaleValueError(expected("q", want, f"shape {tuple(shape)}", hint))
    head_dim = shape[-1]
    if not 2 <= head_dim <= MAX_HEAD_DIM:
        want = f"head_dim from 2 to {MAX_HEAD_DIM}"
        hint = layout_hints.flat("q") if len(shape) == 3 and head_dim > MAX_HEAD_DIM else ""
        raise RopeScaleValueError(expected("q", want, f"{head_dim} of shape {tuple(shape)}", hint))
    if q.stride(-1) != 1:
        raise RopeScaleValueError(
            expected("q", "a last stride of 1", q.stride(-1), _CONTIGUOUS_HINT)
        )
    if k is not None:
        k_shape = k.shape
        if len(k_shape) != len(shape) or k_shape[:-2] != shape[:-2] or k_shape[-1] != head_dim:
            sizes = ", ".join(map(str, (*shape[:-2], "nheads_k", head_dim)))
            want = f"shape ({sizes}) to go with q {tuple(shape)}"
            hint = layout_hints.of_k(k_shape, shape)
            raise RopeScaleValueError(expected("k", want, f"shape {tuple(k_shape)}", hint))
        if k.stride(-1) != 1:
            raise RopeScaleValueError(
                expected("k", "a last stride of 1", k.stride(-1), _CONTIGUOUS_HINT)
            )
    return shape


def check_kind(name: str, x: Any) -> None:
    """Refuse a value that is no strided tensor."""
    if not isinstance(x, Tensor):
        raise RopeScaleTypeError(expected(name, "a torch.Tensor", type(x).__name__))
    if x.layout is not torch.strided or x.is_quantized:
        if x.is_nested:
            raise RopeScaleUnsupportedError(
                expected(name, "a dense tensor", "a nested one", "Pass its .values() packed.")
            )
        got = "a quantized one" if x.is_quantized else str(x.layout)
        raise RopeScaleTypeError(expected(name, "a dense tensor", got))
    if x.is_nested:
        raise RopeScaleUnsupportedError(expected(name, "a dense tensor", "a nested one"))


def is_plain(spec: Spec) -> bool:
    """Return whether raw pointers give all there is: no subclass, lazy negation or transform."""
    if spec.is_plain is None:
        spec.is_plain = not in_forward_ad()
        for name in spec.INPUTS:
            x = getattr(spec, name)
            if x is None:
                continue
            if type(x) not in _PLAIN or x.is_neg() or is_functorch_wrapped_tensor(x):
                spec.is_plain = False
    return spec.is_plain


def check_tokens(
    name: str,
    x: Any,
    argument: Argument,
    q: torch.Size,
    device: torch.device,
    num_axes: int = 0,
) -> None:
    """Check an argument of one value per token.

    Args:
        name: The argument's name.
        x: Its value.
        argument: Its declaration.
        q: Shape of q.
        device: Device of the heads.
        num_axes: Position axes of the table; 0 if the values have no axis in front of the tokens'.
    """
    check_kind(name, x)
    if x.dtype not in argument.dtypes:
        want = " or ".join(str(d).removeprefix("torch.") for d in argument.dtypes)
        raise RopeScaleTypeError(expected(name, want, str(x.dtype)))
    if x.device != device:
        raise RopeScaleValueError(expected(name, f"device {device} as q", str(x.device)))
    shape = x.shape
    # Lengths first, because a tracer is not to compare the sizes of shapes of other lengths.
    if len(shape) != len(q) - 2 or shape != q[:-2]:
        check_token_shape(name, shape, argument, q, num_axes)


def check_token_shape(
    name: str, shape: torch.Size, argument: Argument, q: torch.Size, num_axes: int = 0
) -> None:
    """Accept the tokens' shape, and for sequences `(1, seqlen)`, `(seqlen,)` or `(batch,)`.

    Args:
        name: The argument's name.
        shape: Its shape.
        argument: Its declaration; rows have an axis behind those of tokens.
        q: Shape of q.
        num_axes: Position axes of the table, an axis that may stand in front; 0 for none.
    """
    tokens, end = q[:-2], len(shape) - (argument.kind is Kind.ROWS)
    own, behind = tuple(shape[:end]), tuple(shape[end:])
    front: tuple[int, ...] = ()
    if num_axes and len(own) > len(tokens):
        if own[0] != num_axes:
            want = f"a leading axis of {num_axes} (one per M-RoPE section)"
            raise RopeScaleValueError(expected(name, want, f"shape {tuple(shape)}"))
        front, own = own[:1], own[1:]
    allowed = [tuple(tokens)]
    if len(tokens) == 2:
        allowed += [(tokens[0],)] if argument.by_sequence else []
        allowed += [(1, tokens[1]), (tokens[1],)]
    if any(len(own) == len(a) and own == a for a in allowed):
        return
    # Without an axis of sequences, an axis in front would be read as one.
    shown = [(*front, *a, *behind) for a in allowed if not front or len(a) == len(tokens)]
    want = "shape " + " or ".join(str(a) for a in dict.fromkeys(shown))
    want += f", or a leading axis of {num_axes}" if num_axes and not front else ""
    hint = layout_hints.of_tokens(own, q)
    if argument.lead == "axes" and not front:
        hint = hint or layout_hints.of_axes(own, q, num_axes)
    raise RopeScaleValueError(expected(name, want, f"shape {tuple(shape)}", hint))
