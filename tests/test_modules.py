"""RotaryEmbedding: the operator with its table, and nothing a cast could round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import ropescale_kernels as rk
from tools.contract.draws import draw

SameBits = Callable[..., None]
SCALINGS = [
    rk.RopeScaling.yarn(
        rotary_dim=32, rope_theta=1e6, factor=4.0, original_max_position_embeddings=4096
    ),
    rk.RopeScaling.default(rotary_dim=32, rope_theta=1e4),
]
POSITIONS = torch.arange(6) * 104729 - 5


def heads(nheads: int) -> torch.Tensor:
    return draw(6, nheads, 40, seed=nheads)


@pytest.mark.parametrize("magnitude", ["both", "query", "none"])
@pytest.mark.parametrize("interleaved", [False, True])
def test_a_module_is_the_operator_with_its_options(
    interleaved: bool, magnitude: str, same_bits: SameBits
) -> None:
    ids = torch.tensor([0, 1, 1, 0, 2, 1], dtype=torch.int32)
    rotary = rk.RotaryEmbedding(SCALINGS, magnitude=magnitude, interleaved=interleaved)
    table = rk.RotaryTable(SCALINGS, magnitude=magnitude)
    q, k = heads(3), heads(1)
    choices: list[dict[str, Any]] = [{}, {"profile_ids": ids}]
    for options in choices:
        want = rk.apply_rotary_qk(q, k, POSITIONS, table, interleaved=interleaved, **options)
        same_bits(rotary(q, k, POSITIONS, **options), want)
    assert f"interleaved={interleaved}" in repr(rotary)


class Attention(nn.Module):
    def __init__(self, dynamic: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.rotary = rk.RotaryEmbedding(SCALINGS[0], dynamic=dynamic)


CASTS: dict[str, Callable[[nn.Module], Any]] = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.bfloat16(),
    "double": lambda m: m.double(),
    "to dtype": lambda m: m.to(torch.bfloat16),
    "to device and dtype": lambda m: m.to("cpu", torch.float16),
}


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_cast_of_the_model_changes_no_bit(cast: str, dynamic: bool, same_bits: SameBits) -> None:
    model = Attention(dynamic)
    if dynamic:
        model.rotary.table.update_(torch.tensor([50_000]))
    q = heads(3)
    want = model.rotary(q, None, POSITIONS)
    state = [None if x is None else x.clone() for x in model.rotary.table.state]
    CASTS[cast](model)
    assert model.weight.dtype != torch.float32
    for x, was in zip(model.rotary.table.state, state, strict=True):
        assert (x is None) == (was is None)
        assert x is None or was is None or torch.equal(x, was)
    same_bits(model.rotary(q, None, POSITIONS), want)
    assert set(model.state_dict()) == {"weight"}


def test_a_dynamic_module_follows_its_table(same_bits: SameBits) -> None:
    rotary = rk.RotaryEmbedding(SCALINGS[0], dynamic=True)
    q = heads(3)
    first = rotary(q, None, POSITIONS)[0]
    rotary.table.update_(torch.tensor([100_000]))
    static = rk.RotaryEmbedding(SCALINGS[0].at_seq_len(100_000))
    got = rotary(q, None, POSITIONS)[0]
    same_bits(got, static(q, None, POSITIONS)[0])
    assert not torch.equal(got, first)


def test_a_move_takes_the_table_along() -> None:
    model = Attention(dynamic=True).to("meta")
    table = model.rotary.table
    assert {x.device.type for x in table.state if x is not None} == {"meta"}
    assert model.rotary(heads(3).to("meta"), None, POSITIONS.to("meta"))[0].is_meta


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("scalings", [SCALINGS, SCALINGS[0]])
def test_a_model_built_on_meta_gets_its_table(
    dynamic: bool, scalings: Any, same_bits: SameBits
) -> None:
    with torch.device("meta"):
        rotary = rk.RotaryEmbedding(scalings, dynamic=dynamic)
    assert {x.device.type for x in rotary.table.state if x is not None} == {"meta"}
    q, want = heads(3), rk.RotaryEmbedding(scalings, dynamic=dynamic)
    with pytest.raises(rk.RopeScaleValueError, match=r"table: expected device cpu, got meta"):
        rotary(q, None, POSITIONS)
    rotary.to_empty(device="cpu")
    same_bits(rotary(q, None, POSITIONS), want(q, None, POSITIONS))
    # A model that is real keeps its values.
    rotary.to_empty(device="cpu")
    same_bits(rotary(q, None, POSITIONS), want(q, None, POSITIONS))
    # As of any module.
    with pytest.raises(NotImplementedError, match=r"use torch.nn.Module.to_empty\(\)"):
        want.to("meta").to("cpu")


def test_a_table_of_frequencies_cannot_come_back_from_meta() -> None:
    table = rk.RotaryTable.from_inv_freq(torch.ones(4)).to("meta")
    with pytest.raises(rk.RopeScaleValueError, match="table: expected values, or scalings"):
        table.to("cpu")
    with pytest.raises(rk.RopeScaleValueError, match="inv_freq: expected a tensor with values"):
        rk.RotaryTable.from_inv_freq(torch.ones(4, device="meta"))


def test_inference_mode_and_sequential_use(same_bits: SameBits) -> None:
    rotary, q = rk.RotaryEmbedding(SCALINGS), heads(3)
    want = rotary(q, None, POSITIONS)
    with torch.inference_mode():
        same_bits(rotary(q, None, POSITIONS), want)
        made = rk.RotaryEmbedding(SCALINGS)
    # What was made there rotates, and hands gradients on, outside.
    leaf = q.clone().requires_grad_()
    out = made(leaf, None, POSITIONS)[0]
    out.sum().backward()
    assert torch.equal(out.detach(), want[0])
    assert leaf.grad is not None
