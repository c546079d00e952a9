"""cos and sin of each family's own rotary class, against its own function of Transformers.

The wrong order of a row has to be far off.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from support.rows import doubled, half_rows, repeated
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import draw

Pair = tuple[Tensor, Tensor]


def own(model: str, name: str) -> Any:
    module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    return getattr(module, name)


def rotary_of(model: str, stem: str, **config: Any) -> Any:
    configs = importlib.import_module(f"transformers.models.{model}.configuration_{model}")
    made = getattr(configs, f"{CONFIGS.get(model, stem)}Config")
    sizes = {"hidden_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    return own(model, f"{stem}RotaryEmbedding")(made(**sizes, head_dim=128, **config))


# Classes whose config has another stem than the rotary class.
CONFIGS = {"qwen2_vl": "Qwen2VLText"}
# The stem of the classes, the order of a row, whether pairs are interleaved, and the width of the
# rows of head_dim 128.
FAMILIES = {
    "llama": ("Llama", "doubled", False, 128),
    "cohere": ("Cohere", "repeated", True, 128),
    "cohere2": ("Cohere2", "repeated", True, 128),
    "ernie4_5": ("Ernie4_5", "doubled", True, 128),
    "helium": ("Helium", "doubled", True, 128),
    "glm4": ("Glm4", "doubled", True, 64),
    "qwen3_next": ("Qwen3Next", "doubled", False, 32),
    "qwen2_vl": ("Qwen2VL", "doubled", False, 128),
}


def errors(got: Pair, want: Pair, heads: Pair, rotary_dim: int, interleaved: bool) -> Tensor:
    """Return the largest error of either result in units of its bound.

    Either side rounds each product and the sum once (the fused sum rounds one product less), so
    with u = 2^-24 they differ by at most 2 u (|x0| + |x1|) for the products and 2 u (|x0| + |x1|)
    for the sums, if |cos| and |sin| are at most 1.
    """
    worst = []
    for x, y, heads_in in zip(got, want, heads, strict=True):
        pairs = heads_in[..., :rotary_dim].abs()
        if interleaved:
            size = repeated(pairs.unflatten(-1, (-1, 2)).sum(-1))
        else:
            size = doubled(pairs.unflatten(-1, (2, -1)).sum(-2))
        worst.append(((x - y)[..., :rotary_dim].abs() / (4 * 2.0**-24 * size)).max())
        assert torch.equal(x[..., rotary_dim:], heads_in[..., rotary_dim:])
    return torch.stack(worst).max()


def q_and_k() -> Pair:
    """Return q and k of Transformers, (batch, nheads, seqlen, head_dim)."""
    return draw(2, 4, 5, 128), draw(2, 2, 5, 128, seed=1)


POSITIONS = torch.tensor([[0, 1, 7, 100, 1009], [2, 3, 5, 8, 13]])


@pytest.mark.parametrize("model", FAMILIES)
def test_the_rows_of_a_model_by_its_own_function(model: str) -> None:
    stem, rows, interleaved, width = FAMILIES[model]
    q, k = q_and_k()
    cos, sin = rotary_of(model, stem)(q, POSITIONS)
    assert cos.shape == (2, 5, width)
    want = own(model, "apply_rotary_pos_emb")(q, k, cos, sin)
    heads = q.transpose(1, 2), k.transpose(1, 2)
    wants = want[0].transpose(1, 2), want[1].transpose(1, 2)

    def error(rows: str | None, cos: Tensor = cos, sin: Tensor = sin) -> Tensor:
        got = rk.apply_rotary_cos_sin(*heads, cos, sin, rows=rows, interleaved=interleaved)
        return errors(got, wants, heads, width, interleaved)

    assert error(rows) <= 1
    assert error(rows, cos.unsqueeze(1), sin.unsqueeze(1)) <= 1
    assert error("repeated" if rows == "doubled" else "doubled") > 1000
    # Without a name, only whole doubled rows of halves have one reading.
    if width == 128 and not interleaved:
        assert error(None) <= 1
    else:
        with pytest.raises(rk.RopeScaleValueError, match=f"rows: .* by name: .*{rows!r}"):
            error(None)


@pytest.mark.parametrize("interleaved_axes", [False, True], ids=["qwen2_vl", "qwen3_vl"])
def test_rows_of_each_axis_as_a_model_has_them_before_it_selects(interleaved_axes: bool) -> None:
    section = [24, 20, 20] if interleaved_axes else [16, 24, 24]
    model, stem = ("qwen3_vl", "Qwen3VLText") if interleaved_axes else ("qwen2_vl", "Qwen2VL")
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section}
    rotary = rotary_of(model, stem, rope_parameters=rope)
    assert list(rotary.mrope_section) == section
    positions = torch.stack([POSITIONS, POSITIONS.flip(1), POSITIONS // 3])
    q, k = q_and_k()
    want = own(model, "apply_rotary_pos_emb")(q, k, *rotary(q, positions))
    rotary.recomposition_frequencies = lambda rows: rows
    cos, sin = rotary(q, positions)
    assert cos.shape == (3, 2, 5, 64)
    heads = q.transpose(1, 2), k.transpose(1, 2)
    wants = want[0].transpose(1, 2), want[1].transpose(1, 2)

    def error(cos: Tensor, sin: Tensor, rows: str, turns: bool) -> Tensor:
        got = rk.apply_rotary_cos_sin(
            *heads, cos, sin, rows=rows, mrope_section=section, mrope_interleaved=turns
        )
        return errors(got, wants, heads, 128, False)

    assert error(cos, sin, "half", interleaved_axes) <= 1
    # Transformers 4 doubles the rows first.
    assert error(doubled(cos), doubled(sin), "doubled", interleaved_axes) <= 1
    if interleaved_axes:
        # Consecutive sections read other axes.
        assert error(cos, sin, "half", False) > 1000
    else:
        assert error(cos.flip(0), sin.flip(0), "half", False) > 1000


def test_the_order_that_diffusers_publishes() -> None:
    """diffusers is not installed; `published` is its function for real cos and sin, rewritten."""

    def published(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack((-imaginary, real), -1).flatten(-2)
        return x * cos + turned * sin

    q, k = (x.transpose(1, 2) for x in q_and_k())
    cos, sin = (repeated(x) for x in half_rows(5, 64))
    wants = published(q, cos[:, None], sin[:, None]), published(k, cos[:, None], sin[:, None])
    for rows, limit in (("repeated", 1), ("doubled", None)):
        got = rk.apply_rotary_cos_sin(q, k, cos, sin, rows=rows, interleaved=True)
        error = errors(got, wants, (q, k), 128, True)
        assert error <= limit if limit else error > 1000
