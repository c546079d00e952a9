"""What the operators refuse: the class, the argument and the value named, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from tools.contract.draws import yarn

SCALING = yarn(64)
TABLE = rk.RotaryTable(SCALING)
MROPE = rk.RotaryTable(
    rk.RopeScaling.default(rotary_dim=64, rope_theta=1e6, mrope_section=[8, 12, 12])
)
T, V, N = rk.RopeScaleTypeError, rk.RopeScaleValueError, rk.RopeScaleUnsupportedError


def heads(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


def packed(offset: int) -> tuple[Tensor, Tensor]:
    """Views of q and k in one buffer, k `offset` channels after q."""
    buffer = torch.ones(4, 1024)
    q = buffer.as_strided((4, 2, 64), (256, 64, 1))
    return q, buffer.as_strided((4, 1, 64), (256, 64, 1), offset)


Q, K, P = heads(2, 5, 4, 64), heads(2, 5, 1, 64), torch.arange(5)
INT = torch.int32
jagged = torch.nested.nested_tensor([heads(3, 2, 64), heads(2, 2, 64)], layout=torch.jagged)

# name: (changes to the call, class, words the message holds)
CASES: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "q a list": ({"q": [1.0]}, T, ("q:", "list")),
    "q None": ({"q": None}, T, ("q:", "NoneType")),
    "q numpy": ({"q": Q.numpy()}, T, ("q:", "ndarray")),
    "k a list": ({"k": [1.0]}, T, ("k:", "list")),
    "q int64": ({"q": Q.long()}, T, ("q:", "torch.int64")),
    "q bool": ({"q": Q.bool()}, T, ("q:", "torch.bool")),
    "q complex64": ({"q": Q.to(torch.complex64)}, T, ("q:", "complex64")),
    "q float64": ({"q": Q.double()}, T, ("q:", "float64")),
    "q float8": ({"q": Q.to(torch.float8_e4m3fn)}, T, ("q:", "float8_e4m3fn")),
    "k of another dtype": ({"k": K.half()}, T, ("k:", "float32", "float16")),
    "q sparse": ({"q": Q.to_sparse()}, T, ("q:", "sparse")),
    "q nested": ({"q": jagged}, N, ("q:", "nested")),
    "positions float": ({"position_ids": P.float()}, T, ("position_ids:", "float32")),
    "positions bool": ({"position_ids": P.bool()}, T, ("position_ids:", "bool")),
    "positions uint8": ({"position_ids": P.to(torch.uint8)}, T, ("position_ids:", "uint8")),
    "positions int16": ({"position_ids": P.short()}, T, ("position_ids:", "int16")),
    "positions a list": ({"position_ids": [0, 1]}, T, ("position_ids:", "list")),
    "table a scaling": ({"table": SCALING}, T, ("table:", "RopeScaling")),
    "interleaved numpy": ({"interleaved": np.True_}, T, ("interleaved:", "numpy.bool")),
    "positions (B,) of one token": (
        {"q": heads(2, 1, 4, 64), "k": None, "position_ids": P[:2]},
        V,
        ("position_ids:", "(2, 1) or (1, 1) or (1,)", "(2,)", "unsqueeze(-1)"),
    ),
    "interleaved 1": ({"interleaved": 1}, T, ("interleaved:", "int")),
    "conjugate a tensor": ({"conjugate": torch.tensor(True)}, T, ("conjugate:", "Tensor")),
    "phase": ({"phase": "fast"}, V, ("phase:", "exact", "fast")),
    "impl": ({"impl": "gpu"}, V, ("impl:", "cuda, triton, cpu", "gpu")),
    "q 0-d": ({"q": torch.tensor(1.0), "k": None}, V, ("q:", "()")),
    "q 1-d": ({"q": heads(64), "k": None}, V, ("q:", "(64,)")),
    "q 2-d": ({"q": heads(5, 64), "k": None}, V, ("q:", "(5, 64)")),
    "q 5-d": ({"q": heads(1, 1, 5, 4, 64), "k": None}, V, ("q:", "(1, 1, 5, 4, 64)")),
    "k head_dim": ({"k": heads(2, 5, 1, 66)}, V, ("k:", "(2, 5, 1, 66)")),
    "k tokens": ({"k": heads(2, 6, 1, 64)}, V, ("k:", "(2, 6, 1, 64)")),
    "k batch": ({"k": heads(1, 5, 1, 64)}, V, ("k:", "(1, 5, 1, 64)")),
    "q flat": (
        {"q": heads(5, 256), "k": None},
        V,
        ("q:", "(5, 256)", "q.unflatten(-1, (nheads, head_dim))"),
    ),
    "q of sequences flat": (
        {"q": heads(2, 5, 2048), "k": None},
        V,
        ("q:", "512", "(2, 5, 2048)", "q.unflatten(-1, (nheads, head_dim))"),
    ),
    "q of sequences flat, few channels": (
        {"q": heads(2, 5, 256), "k": None, "position_ids": P[None]},
        V,
        ("position_ids:", "(2,)", "(1, 5)", "q.unflatten(-1, (nheads, head_dim))"),
    ),
    "q heads first": (
        {"q": heads(2, 4, 5, 64), "k": None},
        V,
        ("position_ids:", "(2, 4) or (1, 4) or (4,)", "(5,)", "q.transpose(1, 2)"),
    ),
    "tokens heads first": (
        {"q": heads(4, 5, 64), "k": None},
        V,
        ("position_ids:", "(4,)", "(5,)", "q.transpose(0, 1)", "q.unflatten(-1, ("),
    ),
    "q and k heads first": (
        {"q": heads(2, 4, 5, 64), "k": heads(2, 2, 5, 64)},
        V,
        ("k:", "(2, 4, nheads_k, 64)", "(2, 2, 5, 64)", "k.transpose(1, 2)"),
    ),
    "k flat": (
        {"q": heads(5, 4, 64), "k": heads(5, 128)},
        V,
        ("k:", "(5, nheads_k, 64)", "(5, 128)", "k.unflatten(-1, (nheads_k, head_dim))"),
    ),
    "k rank": ({"k": heads(5, 1, 64)}, V, ("k:", "(5, 1, 64)")),
    "rotary_dim above": ({"q": heads(2, 5, 4, 62), "k": None}, V, ("table:", "62", "64")),
    "head_dim 1": ({"q": heads(2, 5, 4, 1), "k": None}, V, ("q:", "head_dim", "1")),
    "head_dim large": ({"q": heads(1, 1, 1, 2**20), "k": None}, V, ("q:", "512", "1048576")),
    "short positions": ({"position_ids": P[:4]}, V, ("position_ids:", "(5,)", "(4,)")),
    "long positions": ({"position_ids": torch.arange(6)}, V, ("position_ids:", "(6,)")),
    "positions (B, 1)": ({"position_ids": P[:2, None]}, V, ("position_ids:", "(2, 1)")),
    "positions 3-d": (
        {"position_ids": P.expand(3, 2, 5)},
        V,
        ("position_ids:", "(3, 2, 5)", "M-RoPE sections"),
    ),
    "profiles int64": ({"profile_ids": torch.zeros(2, 5).long()}, T, ("profile_ids:", "int64")),
    "profiles shape": (
        {"profile_ids": torch.zeros(6, dtype=INT)},
        V,
        ("profile_ids:", "(2, 5) or (2,) or (1, 5) or (5,)", "(6,)"),
    ),
    "q last stride 2": ({"q": heads(2, 5, 4, 128)[..., ::2]}, V, ("q:", "stride", "2", "contig")),
    "k last stride 2": ({"k": heads(2, 5, 1, 128)[..., ::2]}, V, ("k:", "stride", "2")),
    "k on meta": ({"k": K.to("meta")}, V, ("k:", "cpu", "meta")),
    "positions on meta": ({"position_ids": P.to("meta")}, V, ("position_ids:", "meta")),
    "table on meta": ({"table": TABLE.to("meta")}, V, ("table:", "meta", "table.to")),
    "axes": (
        {"table": MROPE, "position_ids": P.expand(2, 2, 5)},
        V,
        ("position_ids:", "leading axis of 3", "(2, 2, 5)"),
    ),
    "tokens of axes": (
        {"table": MROPE, "position_ids": torch.zeros(3, 2, 6, dtype=INT)},
        V,
        ("position_ids:", "(3, 2, 5) or (3, 1, 5)", "got shape (3, 2, 6)"),
    ),
    "one row of each axis": (
        {"table": MROPE, "position_ids": P.expand(3, 5)},
        V,
        ("position_ids:", "leading axis of 3", "(3, 5)", "position_ids[:, None]"),
    ),
}


def test_the_views_of_the_hints_are_taken() -> None:
    flat, heads_first = torch.randn(5, 256), torch.randn(2, 4, 5, 64)
    want = rk.apply_rotary_qk(flat.view(5, 4, 64), None, P, TABLE)[0]
    assert torch.equal(rk.apply_rotary_qk(flat.unflatten(-1, (4, 64)), None, P, TABLE)[0], want)
    want = rk.apply_rotary_qk(heads_first.transpose(1, 2).contiguous(), None, P, TABLE)[0]
    address = heads_first.data_ptr()
    rk.apply_rotary_qk_(heads_first.transpose(1, 2), None, P, TABLE)
    assert heads_first.data_ptr() == address
    assert torch.equal(heads_first, want.transpose(1, 2))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("in_place", [False, True])
def test_refused(case: str, in_place: bool) -> None:
    changes, kind, words = CASES[case]
    call: dict[str, Any] = {"q": Q, "k": K, "position_ids": P, "table": TABLE} | changes
    operator: Callable[..., Any] = rk.apply_rotary_qk_ if in_place else rk.apply_rotary_qk
    with pytest.raises(kind) as raised:
        operator(call.pop("q"), call.pop("k"), call.pop("position_ids"), call.pop("table"), **call)
    for word in words:
        assert word in str(raised.value)
    assert "'nheads" not in str(raised.value)
    assert isinstance(raised.value, rk.RopeScaleError)
    assert (Q == 1).all()
    assert (K == 1).all()


def expanded() -> Tensor:
    return torch.ones(1, 4, 64).expand(5, 4, 64)


Q3, K3 = heads(5, 4, 64), heads(5, 1, 64)
SHARED = torch.ones(5 * 4 * 64 + 64)
OUT_CASES: dict[str, tuple[Any, Tensor | None, type[Exception], tuple[str, ...]]] = {
    "one buffer for two": (heads(5, 4, 64), K3, T, ("out:", "pair")),
    "no tensor": ([1, 2], None, T, ("out[0]:", "int")),
    "three": ((Q3, K3, K3), K3, T, ("out:", "tuple")),
    "no k buffer": ((heads(5, 4, 64), None), K3, T, ("out[1]:", "NoneType")),
    "a k buffer too many": ((heads(5, 4, 64), heads(5, 1, 64)), None, T, ("out[1]:", "Tensor")),
    "dtype": ((heads(5, 4, 64).half(), None), None, T, ("out[0]:", "float16")),
    "shape": ((heads(5, 4, 62), None), None, V, ("out[0]:", "(5, 4, 62)")),
    "device": ((Q3.to("meta"), None), None, V, ("out[0]:", "meta")),
    "stride": ((heads(5, 4, 128)[..., ::2], None), None, V, ("out[0]:", "stride", "2")),
    "expanded": ((expanded(), None), None, V, ("out[0]:", "(0, 64, 1)")),
    "self-overlap": (
        (SHARED.as_strided((5, 4, 64), (64, 32, 1)), None),
        None,
        V,
        ("out[0]:", "share"),
    ),
    "q_out is k_out": ((SHARED[:320].view(5, 1, 64),) * 2, K3, V, ("out[1]:", "out[0]")),
}


@pytest.mark.parametrize("case", OUT_CASES)
def test_refused_buffers(case: str) -> None:
    out, k, kind, words = OUT_CASES[case]
    q = K3 if case == "q_out is k_out" else Q3
    with pytest.raises(kind) as raised:
        rk.apply_rotary_qk(q, k, P, TABLE, out=out)
    for word in words:
        assert word in str(raised.value)
    buffers = out if isinstance(out, (tuple, list)) else [out]
    for buffer in buffers:
        if isinstance(buffer, Tensor) and not buffer.is_meta:
            assert (buffer == 1).all()


def test_out_that_overlaps_an_input_partly_is_refused() -> None:
    q, out = SHARED[:-64].view(5, 4, 64), SHARED[64:].view(5, 4, 64)
    with pytest.raises(V, match=r"out\[0\]: expected memory apart from q"):
        rk.apply_rotary_qk(q, None, P, TABLE, out=(out, None))
    with pytest.raises(V, match=r"out\[1\]: expected memory apart from q"):
        rk.apply_rotary_qk(q, q, P, TABLE, out=(torch.ones(5, 4, 64), q))
    assert (SHARED == 1).all()


def test_in_place_on_shared_rows_is_refused() -> None:
    for q, k in ((expanded(), None), (Q3, Q3), packed(64), packed(127)):
        with pytest.raises(V, match="memory"):
            rk.apply_rotary_qk_(q, k, torch.arange(len(q)), TABLE)
        assert (q == 1).all()


def test_packed_views_that_do_not_overlap_are_rotated() -> None:
    q, k = packed(128)
    want = rk.apply_rotary_qk(q.clone(), k.clone(), P[:4], TABLE, impl="reference")
    buffer = q._base
    assert buffer is not None
    rk.apply_rotary_qk_(q, k, P[:4], TABLE)
    assert torch.equal(q, want[0])
    assert want[1] is not None
    assert torch.equal(k, want[1])
    assert (buffer.view(-1)[192:256] == 1).all()


def test_out_may_be_the_input_itself() -> None:
    q = torch.randn(5, 4, 64)
    want = rk.apply_rotary_qk(q, None, P, TABLE)[0]
    for impl in ("cpu", "torch"):
        mine = q.clone()
        got = rk.apply_rotary_qk(mine, None, P, TABLE, out=mine, impl=impl)[0]
        assert got is mine
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


COS = torch.ones(5, 32)
COS_CASES: dict[str, tuple[dict[str, Any], type[Exception], tuple[str, ...]]] = {
    "cos a list": ({"cos": [1]}, T, ("cos:", "list")),
    "cos int": ({"cos": COS.int()}, T, ("cos:", "int32")),
    "sin dtype": ({"sin": COS.half()}, T, ("sin:", "float16")),
    "sin shape": ({"sin": COS[:4]}, V, ("sin:", "(4, 32)")),
    "device": ({"cos": COS.to("meta")}, V, ("cos:", "meta")),
    "no rows": ({"cos": COS[0], "sin": COS[0]}, V, ("cos:", "(32,)")),
    "rows": ({"cos": torch.ones(6, 32), "sin": torch.ones(6, 32)}, V, ("cos:", "(6, 32)")),
    "rows of heads first": (
        {"q": heads(2, 4, 5, 64), "k": None},
        V,
        ("cos:", "(2, 4, 32) or (1, 4, 32) or (4, 32)", "(5, 32)", "q.transpose(1, 2)"),
    ),
    "rotary_dim odd": ({"rotary_dim": 33}, V, ("rotary_dim:", "33")),
    "rotary_dim zero": ({"rotary_dim": 0}, V, ("rotary_dim:", "0")),
    "rotary_dim negative": ({"rotary_dim": -2}, V, ("rotary_dim:", "-2")),
    "rotary_dim above": ({"rotary_dim": 66}, V, ("rotary_dim:", "64", "66")),
    "rotary_dim float": ({"rotary_dim": 64.0}, T, ("rotary_dim:", "float")),
    "index float": ({"position_ids": torch.ones(5)}, T, ("position_ids:", "float32")),
    "index shape": ({"position_ids": torch.arange(4)}, V, ("position_ids:", "(4,)")),
    "grad": ({"cos": COS.clone().requires_grad_()}, N, ("cos:", "grad", "Detach")),
}


@pytest.mark.parametrize("case", COS_CASES)
def test_refused_cos_sin(case: str) -> None:
    changes, kind, words = COS_CASES[case]
    call: dict[str, Any] = {"q": Q3, "k": K3, "cos": COS, "sin": COS, "rows": "half"} | changes
    with pytest.raises(kind) as raised:
        rk.apply_rotary_cos_sin(**call)
    for word in words:
        assert word in str(raised.value)


def test_the_variable_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPESCALE_IMPL", "bogus")
    with pytest.raises(V, match="ROPESCALE_IMPL: expected one of auto, cuda, triton, cpu"):
        rk.apply_rotary_qk(Q, K, P, TABLE)
