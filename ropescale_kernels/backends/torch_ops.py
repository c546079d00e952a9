"""impl="torch": the same contract in torch operations, for every device and tensor subclass.

The phase is reduced in integers as in the kernels; cos and sin come from float64, so results agree
within the bounds table but not bit for bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..ops.arguments import RotaryCosSinSpec, RotaryQKSpec
from ..table.state import TableState
from ..table.turns import turns_from_float32

# Devices whose torch operations include int64 and float64 arithmetic.
_DEVICES = ("cpu", "cuda", "meta", "xpu", "hpu")


def unavailable() -> str | None:
    """Return None, because torch is always here."""
    return None


def excluded_from_auto() -> str | None:
    """Return None: "auto" chooses torch operations last."""
    return None


def unsupported(spec: RotaryQKSpec | RotaryCosSinSpec) -> str | None:
    """Return why a call cannot be served, or None: the device must have float64."""
    if spec.q.device.type not in _DEVICES:
        return f"torch has no float64 on {spec.q.device.type}"
    return None


def launch_rotary_qk(spec: RotaryQKSpec) -> None:
    """Rotate with cos and sin of the reduced phases."""
    positions, profile, valid = _tokens(spec)
    cos, sin = _cos_sin(spec, positions, profile)
    nan = torch.where(valid, 0.0, math.nan).unsqueeze(-1)
    cos, sin = (cos + nan).to(torch.float32), (sin + nan).to(torch.float32)
    factors = spec.table.attention_factor_bits.view(torch.float32)[profile]
    for x, out, column in ((spec.q, spec.q_out, 0), (spec.k, spec.k_out, 1)):
        if x is not None and out is not None:
            factor = factors[..., column].unsqueeze(-1)
            _rotate(spec, x, out, cos * factor, sin * factor)


def launch_rotary_qk_scaling_grad(
    spec: RotaryQKSpec, grad_q: Tensor, grad_k: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Reduce over tokens and heads, in float64."""
    positions, profile, valid = _tokens(spec)
    cos, sin = _cos_sin(spec, positions, profile)
    if spec.conjugate:
        sin = -sin
    factors = spec.table.attention_factor_bits.view(torch.float32)[0].to(torch.float64)
    of_angle, of_factors = torch.zeros_like(cos), []
    for x, grad, factor in ((spec.q, grad_q, factors[0]), (spec.k, grad_k, factors[1])):
        if x is None or grad is None:
            of_factors.append(torch.zeros_like(factor))
            continue
        (x0, x1), (g0, g1) = _pairs(spec, x, torch.float64), _pairs(spec, grad, torch.float64)
        along, across = (g0 * x0 + g1 * x1).sum(-2), (g1 * x0 - g0 * x1).sum(-2)
        of_factors.append(torch.where(valid.unsqueeze(-1), cos * along + sin * across, 0.0).sum())
        of_angle = of_angle + factor * (cos * across - sin * along)
    of_inv_freq = torch.where(valid.unsqueeze(-1), of_angle * positions, 0.0).flatten(0, -2).sum(0)
    if spec.conjugate:
        of_inv_freq = -of_inv_freq
    grads = of_inv_freq.unsqueeze(0), torch.stack(of_factors).unsqueeze(0)
    return grads[0].to(torch.float32), grads[1].to(torch.float32)


def launch_rotary_cos_sin(spec: RotaryCosSinSpec) -> None:
    """Rotate with the caller's cos and sin."""
    num_pairs = spec.rotary_dim // 2
    cos, sin = (x[..., :num_pairs].to(torch.float32) for x in (spec.cos, spec.sin))
    sections = spec.sections
    if sections is not None:
        cos, sin = _on_own_axis(cos, sections), _on_own_axis(sin, sections)
    if spec.position_ids is not None:
        rows = spec.position_ids.to(torch.int64)
        valid = (rows >= 0) & (rows < cos.shape[0])
        nan = torch.where(valid, 0.0, math.nan).unsqueeze(-1)
        if cos.shape[0] == 0:
            cos = sin = cos.new_zeros((1, num_pairs))
        rows = torch.where(valid, rows, 0)
        cos, sin = cos[rows] + nan, sin[rows] + nan
    for x, out in ((spec.q, spec.q_out), (spec.k, spec.k_out)):
        if x is not None and out is not None:
            _rotate(spec, x, out, cos, sin)


def _on_own_axis(x: Tensor, sections: tuple[range, ...]) -> Tensor:
    """Return the rows of each pair's M-RoPE axis from `(axes, ..., rotary_dim / 2)`."""
    rows = x[0].clone()
    for axis, pairs in enumerate(sections, start=1):
        # Slices, because a list of indices would be copied to the device.
        own = slice(pairs.start, pairs.stop, pairs.step)
        rows[..., own] = x[axis][..., own]
    return rows


def _tokens(spec: RotaryQKSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Return per token the positions per pair, a valid profile, and whether the id was valid."""
    token_dims = spec.q.dim() - 2
    positions = _positions_per_pair(spec.position_ids, token_dims, spec.table)
    # One profile for all tokens has an axis per axis of tokens, because an index without axes is
    # read on the host, which waits for the device and breaks a graph.
    profile = positions.new_zeros((1,) * token_dims)
    if spec.profile_ids is not None:
        profile = spec.profile_ids.to(torch.int64)
        if profile.dim() < token_dims:
            profile = profile.unsqueeze(-1)
    valid = (profile >= 0) & (profile < spec.table.num_profiles)
    return positions, torch.where(valid, profile, 0), valid


def _cos_sin(spec: RotaryQKSpec, positions: Tensor, profile: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines before the factor, float64 `(..., rotary_dim / 2)`."""
    turns_per_token, inv_freq = _frequencies(spec.table)
    if spec.phase_float32:
        radians = (positions.to(torch.float32) * inv_freq[profile]).to(torch.float64)
    else:
        words = turns_per_token[profile].to(torch.int64)
        step = (words[..., 0] & 0xFFFFFFFF) | (words[..., 1] << 32)
        turns = (positions * step) >> 32  # signed, so between -1/2 and 1/2 turn
        radians = turns.to(torch.float64) * (2 * math.pi / 2**32)
    return radians.cos(), radians.sin()


def _positions_per_pair(position_ids: Tensor, token_dims: int, table: TableState) -> Tensor:
    """Return positions as int64 `(..., rotary_dim / 2)`, or `(..., 1)` if all pairs share one."""
    positions = position_ids.to(torch.int64)
    if table.axis_ids is None or position_ids.dim() == token_dims:
        return positions.unsqueeze(-1)
    return positions[table.axis_ids.to(torch.int64)].movedim(0, -1)


def _frequencies(table: TableState) -> tuple[Tensor, Tensor]:
    """Return turns per token and float32 inv_freq per profile, blended if the table is dynamic."""
    inv_freq = table.inv_freq_bits.view(torch.float32)
    if table.blend is None:
        return table.turns_per_token, inv_freq
    pos_freqs, ramp, factor = (x.view(torch.float32) for x in table.blend)
    factor = factor.unsqueeze(-1)
    keep = 1.0 - ramp
    blended = (1.0 / (factor * pos_freqs)) * (1.0 - keep) + (1.0 / pos_freqs) * keep
    is_blend = factor != 0
    inv_freq = torch.where(is_blend, blended, inv_freq)
    return torch.where(
        is_blend.unsqueeze(-1), turns_from_float32(inv_freq), table.turns_per_token
    ), inv_freq


def _pairs(
    spec: RotaryQKSpec | RotaryCosSinSpec, x: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    rotated = x[..., : spec.rotary_dim].to(dtype)
    if spec.interleaved:
        return rotated[..., 0::2], rotated[..., 1::2]
    first, second = rotated.chunk(2, dim=-1)
    return first, second


def _rotate(
    spec: RotaryQKSpec | RotaryCosSinSpec, x: Tensor, out: Tensor, cos: Tensor, sin: Tensor
) -> None:
    """Write the rotation of x into out; cos and sin are float32 `(..., rotary_dim / 2)`."""
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    if spec.conjugate:
        sin = -sin
    x0, x1 = _pairs(spec, x, torch.float32)
    y0, y1 = x0 * cos - x1 * sin, x1 * cos + x0 * sin
    pairs = (
        torch.stack([y0, y1], dim=-1).flatten(-2) if spec.interleaved else torch.cat([y0, y1], -1)
    )
    rest = x[..., spec.rotary_dim :]
    out.copy_(torch.cat([pairs.to(x.dtype), rest], dim=-1) if rest.shape[-1] else pairs)
