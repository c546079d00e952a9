"""The layouts of q, k, positions and profiles that the reference takes, and refusals of others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import RopeScaleTypeError, RopeScaleValueError, check_flag, expected
from .rotation import FORMATS


def check_options(
    q: Tensor, k: Tensor | None, precision: str, interleaved: bool, conjugate: bool
) -> None:
    """Refuse an unknown precision or flag, and a kind, dtype or shape of q or k not listed."""
    for name, flag in (("interleaved", interleaved), ("conjugate", conjugate)):
        check_flag(name, flag)
    if precision not in ("float64", "bits"):
        raise RopeScaleValueError(expected("precision", '"float64" or "bits"', precision))
    for name, x in ({"q": q} if k is None else {"q": q, "k": k}).items():
        check_kind(name, x)
        if x.dtype not in FORMATS and not (x.dtype == torch.float64 and precision == "float64"):
            requirement = "float32, float16 or bfloat16 (float64 in precision float64)"
            raise RopeScaleTypeError(expected(f"{name}.dtype", requirement, x.dtype))
        if x.dim() not in (3, 4) or x.shape[:-2] != q.shape[:-2]:
            requirement = "(batch, seqlen, nheads, head_dim) or (num_tokens, nheads, head_dim)"
            raise RopeScaleValueError(expected(f"{name}.shape", requirement, tuple(x.shape)))


def check_kind(name: str, x: Tensor) -> None:
    """Refuse a value that is no tensor on the CPU."""
    if not isinstance(x, Tensor):
        raise RopeScaleTypeError(expected(name, "a torch.Tensor", type(x).__name__))
    if x.device.type != "cpu":
        raise RopeScaleValueError(expected(name, "device cpu", str(x.device)))


def check_indices(name: str, x: Tensor) -> None:
    """Refuse a value that is no tensor of integers on the CPU."""
    check_kind(name, x)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise RopeScaleTypeError(expected(name, "integers", str(x.dtype)))


def check_rotary_dim(rotary_dim: int, q: Tensor, k: Tensor | None) -> None:
    """Refuse an odd rotary_dim, and one that head_dim cannot hold."""
    head_dim = min(x.shape[-1] for x in (q, k) if x is not None)
    if rotary_dim < 2 or rotary_dim % 2 or rotary_dim > head_dim:
        requirement = f"an even number in [2, {head_dim}]"
        raise RopeScaleValueError(expected("rotary_dim", requirement, rotary_dim))


def per_token(name: str, x: Tensor, token_shape: torch.Size, whole: Tensor | None = None) -> Tensor:
    """Return x for each token. Only (seqlen,) and (1, seqlen) broadcast over the batch.

    Args:
        name: Name of the argument.
        x: One value per token.
        token_shape: (batch, seqlen) or (num_tokens,).
        whole: The argument, if x is one axis of it.
    """
    seqlen = token_shape[-1]
    of_one_sequence = ((1, seqlen), (seqlen,)) if len(token_shape) == 2 else ()
    if x.shape not in (token_shape, *of_one_sequence):
        requirement = f"one value per token {tuple(token_shape)}, or per token of one sequence"
        got = tuple((x if whole is None else whole).shape)
        raise RopeScaleValueError(expected(f"{name}.shape", requirement, got))
    return x.expand(token_shape)


def positions_per_axis(
    position_ids: Tensor, token_shape: torch.Size, num_axes: int | None
) -> list[list[int]]:
    """Return the position of each token on each axis.

    Args:
        position_ids: Integers, one per token, with or without a leading axis of num_axes.
        token_shape: (batch, seqlen) or (num_tokens,).
        num_axes: Number of position axes of the table; None if the table has no axes.

    Returns:
        One list of positions for each axis. Without a leading axis, the lists are equal.

    Raises:
        RopeScaleValueError: Another shape.
    """
    check_indices("position_ids", position_ids)
    axes = [position_ids] * (num_axes or 1)
    if num_axes and position_ids.dim() > len(token_shape) and len(position_ids) == num_axes:
        axes = list(position_ids)
    found = [per_token("position_ids", axis, token_shape, position_ids) for axis in axes]
    return [axis.flatten().tolist() for axis in found]


def profile_of_token(profile_ids: Tensor | None, token_shape: torch.Size) -> list[int]:
    """Return the profile of each token, from ids per token or per sequence; None means 0."""
    if profile_ids is None:
        return [0] * math.prod(token_shape)
    check_indices("profile_ids", profile_ids)
    if len(token_shape) == 2 and profile_ids.shape == token_shape[:1]:
        profile_ids = profile_ids.unsqueeze(-1).expand(token_shape)
    ids: list[int] = per_token("profile_ids", profile_ids, token_shape).flatten().tolist()
    return ids
