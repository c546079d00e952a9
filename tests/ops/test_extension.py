"""The extension module itself: how it reads tensors, what its fast call accepts, its threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.backends import compiled as compiled
from ropescale_kernels.ops.arguments import RotaryQKSpec
from tools.contract.draws import DTYPES, draw

extension: Any = compiled.extension
SCALING = rk.RopeScaling.yarn(
    rotary_dim=64, rope_theta=1e4, factor=4.0, original_max_position_embeddings=4096
)


@pytest.fixture
def table() -> rk.RotaryTable:
    return rk.RotaryTable(SCALING)


def test_the_sanitized_build_is_the_one_under_test() -> None:
    if not os.environ.get("ROPESCALE_EXPECT_SANITIZED"):
        assert "sanitize" not in extension.__file__
        return
    assert "sanitize" in extension.__file__
    with open("/proc/self/maps") as maps:
        assert "libasan" in maps.read()


def spec_of(q: Any, k: Any, q_out: Any, k_out: Any, position_ids: Any, table: Any) -> RotaryQKSpec:
    """A call as the bindings take it, unchecked."""
    flags: Any = (False, False, False)
    return RotaryQKSpec(q, k, position_ids, None, table, *flags, q_out=q_out, k_out=k_out)


class NoExchange(Tensor):
    """A tensor type that publishes no exchange table, as older torch releases have it."""

    __dlpack_c_exchange_api__ = None


@pytest.fixture
def without_dlpack() -> Iterator[None]:
    extension.set_tensor_type(NoExchange)
    yield
    extension.set_tensor_type(torch.Tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reading_by_attributes_gives_the_same_bits(
    dtype: torch.dtype, table: rk.RotaryTable, request: pytest.FixtureRequest
) -> None:
    q, k = draw(2, 5, 3, 80, dtype=dtype), draw(2, 5, 1, 80, dtype=dtype, seed=1)
    positions = torch.arange(10).view(2, 5)
    want = rk.apply_rotary_qk(q, k, positions, table)
    assert extension.uses_dlpack()
    request.getfixturevalue("without_dlpack")
    assert not extension.uses_dlpack()

    def wrap(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.as_subclass(NoExchange)

    got = torch.empty_like(q), torch.empty_like(k)
    state = SimpleNamespace(state=tuple(wrap(x) for x in table.state))
    extension.rotary_qk(spec_of(*(wrap(x) for x in (q, k, *got, positions)), state), 2)
    assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))


def test_what_is_no_tensor_is_refused_by_name(table: rk.RotaryTable) -> None:
    q = draw(5, 3, 64)
    with pytest.raises(TypeError, match=r"k: expected a torch.Tensor, got list"):
        extension.rotary_qk(spec_of(q, [1], q, q, torch.arange(5), table), 1)
    with pytest.raises(ValueError, match="isa: expected baseline, avx2 or avx512, got sse9"):
        extension.use_cpu_isa("sse9")


def try_in_place(q: Any, k: Any, positions: Any, table: rk.RotaryTable, **kw: Any) -> bool:
    flags = {"interleaved": False, "conjugate": False, "phase": "exact"} | kw
    return compiled.fast_rotary_qk(q, k, positions, table, *flags.values(), True) is not None


def overlapping() -> Tensor:
    return torch.zeros(4096).as_strided((4, 2, 64), (64, 32, 1))


def in_one_buffer(q_stride: int, k_stride: int, k_start: int) -> tuple[Tensor, Tensor]:
    """Four tokens each, of one head of 64 channels, every so many elements."""
    buffer = torch.zeros(2048)
    return (
        buffer.as_strided((4, 1, 64), (q_stride, 64, 1), 0),
        buffer.as_strided((4, 1, 64), (k_stride, 64, 1), k_start),
    )


DECLINED = {
    "requires grad": lambda q, k, p: (q.clone().requires_grad_(), k, p),
    "k requires grad": lambda q, k, p: (q, k.clone().requires_grad_(), p),
    "negated view": lambda q, k, p: (torch._neg_view(q), k, p),
    "parameter": lambda q, k, p: (torch.nn.Parameter(q, requires_grad=False), k, p),
    "subclass": lambda q, k, p: (q.as_subclass(NoExchange), k, p),
    "float64": lambda q, k, p: (q.double(), k.double(), p),
    "two dtypes": lambda q, k, p: (q, k.half(), p),
    "two dimensions": lambda q, k, p: (q[:, 0], None, p),
    "k of another head_dim": lambda q, k, p: (q, k[..., :62], p),
    "k of other tokens": lambda q, k, p: (q, k[:3], p),
    "rotary_dim above head_dim": lambda q, k, p: (q[..., :62], k[..., :62], p),
    "last stride 2": lambda q, k, p: (draw(4, 2, 128)[..., ::2], None, p),
    "empty": lambda q, k, p: (q[:0], None, p[:0]),
    "sparse": lambda q, k, p: (q.to_sparse(), None, p),
    "meta": lambda q, k, p: (q.to("meta"), None, p),
    "a list": lambda q, k, p: (q.tolist(), k, p),
    "float positions": lambda q, k, p: (q, k, p.float()),
    "short positions": lambda q, k, p: (q, k, p[:3]),
    "a row of positions": lambda q, k, p: (q, k, p[None, :]),
    "rows that overlap": lambda q, k, p: (overlapping(), None, p),
    "batches that are one": lambda q, k, p: (draw(1, 4, 2, 64).expand(3, 4, 2, 64), None, p),
    "heads that are one": lambda q, k, p: (draw(4, 1, 64).expand(4, 2, 64), None, p),
    "tokens that are one": lambda q, k, p: (draw(1, 2, 64).expand(4, 2, 64), None, p),
    "k that is q": lambda q, k, p: (q, q, p),
    "tokens that meet the next": lambda q, k, p: (*in_one_buffer(96, 96, 64), p),
    "strides that part": lambda q, k, p: (*in_one_buffer(256, 192, 64), p),
}


@pytest.mark.parametrize("case", DECLINED)
def test_the_fast_call_declines_and_writes_nothing(case: str, table: rk.RotaryTable) -> None:
    with torch.no_grad():
        q, k, positions = DECLINED[case](draw(4, 2, 64), draw(4, 1, 64), torch.arange(4))
    before = [x.detach().clone() if isinstance(x, Tensor) else x for x in (q, k)]
    assert try_in_place(q, k, positions, table) is False
    for x, was in zip((q, k), before, strict=True):
        if isinstance(x, Tensor) and not x.is_meta and not x.is_sparse:
            assert torch.equal(x, was)


@pytest.mark.parametrize(
    "flags",
    [{"interleaved": 1}, {"conjugate": None}, {"interleaved": torch.tensor(True)}, {"phase": "x"}],
)
def test_the_fast_call_declines_odd_flags(flags: dict[str, Any], table: rk.RotaryTable) -> None:
    assert try_in_place(draw(4, 2, 64), None, torch.arange(4), table, **flags) is False


def test_the_fast_call_obeys_the_variable(
    monkeypatch: pytest.MonkeyPatch, table: rk.RotaryTable
) -> None:
    monkeypatch.setenv("ROPESCALE_IMPL", "torch")
    assert try_in_place(draw(4, 2, 64), None, torch.arange(4), table) is False


LAYOUTS = {
    "packed tokens": lambda dtype: (draw(9, 4, 96, dtype=dtype), draw(9, 1, 96, dtype=dtype)),
    "batch": lambda dtype: (draw(2, 9, 4, 64, dtype=dtype), draw(2, 9, 2, 64, dtype=dtype)),
    "heads first": lambda dtype: (
        draw(2, 4, 9, 64, dtype=dtype).transpose(1, 2),
        draw(2, 2, 9, 64, dtype=dtype).transpose(1, 2),
    ),
    "sliced channels": lambda dtype: (
        draw(2, 9, 4, 160, dtype=dtype)[..., 64:145],
        draw(2, 9, 2, 160, dtype=dtype)[..., 64:145],
    ),
    "no k": lambda dtype: (draw(2, 9, 4, 64, dtype=dtype), None),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("phase", ["exact", "float32"])
def test_the_fast_call_gives_the_bits_of_the_checked_path(
    layout: str, dtype: torch.dtype, phase: str, table: rk.RotaryTable
) -> None:
    q, k = LAYOUTS[layout](dtype)
    positions = torch.arange(9, dtype=torch.int32) * 70001 - 3
    want = rk.apply_rotary_qk(q, k, positions, table, phase=phase, impl="cpu")
    got = rk.apply_rotary_qk(q, k, positions, table, phase=phase)
    assert try_in_place(q, k, positions, table, phase=phase) is True
    for x, y, in_place in zip(got, want, (q, k), strict=True):
        if y is not None and x is not None:
            assert torch.equal(x, y)
            assert torch.equal(in_place, y)
            assert x.stride() == torch.empty_like(y).stride()


def packed(tokens: int = 9, batch: int = 2) -> tuple[Tensor, Tensor]:
    whole = draw(batch, tokens, 7, 64)
    return whole[:, :, :4], whole[:, :, 4:6]


def try_out(q: Tensor, k: Tensor | None, out: Any, table: rk.RotaryTable) -> bool:
    positions = torch.arange(q.shape[-3])
    return compiled.fast_rotary_qk(q, k, positions, table, False, False, "exact", out) is not None


@pytest.mark.parametrize("layout", ["fresh", "packed", "into packed", "into itself", "no k"])
def test_the_fast_call_takes_buffers_that_are_apart(layout: str, table: rk.RotaryTable) -> None:
    q, k = draw(2, 9, 4, 64), draw(2, 9, 2, 64)
    if layout in ("packed", "into itself"):
        q, k = packed()
    out: Any = {
        "fresh": lambda: (torch.empty_like(q), torch.empty_like(k)),
        "packed": lambda: (torch.empty(q.shape), torch.empty(k.shape)),
        "into packed": packed,
        "into itself": lambda: (q, k),
        "no k": lambda: (torch.empty_like(q), None),
    }[layout]()
    given_k = None if layout == "no k" else k
    want = rk.apply_rotary_qk(q, given_k, torch.arange(9), table, impl="cpu")
    version = out[0]._version
    assert rk.apply_rotary_qk(q, given_k, torch.arange(9), table, out=out) is not None
    assert out[0]._version > version
    for x, y in zip(out, want, strict=True):
        assert (x is None and y is None) or torch.equal(x, y)
    assert try_out(q, given_k, out, table) is True


def shifted(x: Tensor) -> Tensor:
    """A view of x's shape that starts one token later in x's memory."""
    flat = torch.cat([x.flatten(), x.flatten()])
    x.set_(flat[: x.numel()].view(x.shape))  # type: ignore[call-overload]
    return flat[x.stride(1) : x.stride(1) + x.numel()].view(x.shape)


REFUSED_BUFFERS = {
    "of another shape": lambda q, k: (torch.empty(2, 9, 5, 64), torch.empty_like(k)),
    "of another dtype": lambda q, k: (torch.empty_like(q).half(), torch.empty_like(k)),
    "last stride 2": lambda q, k: (torch.empty(2, 9, 4, 128)[..., ::2], torch.empty_like(k)),
    "a token later": lambda q, k: (shifted(q), torch.empty_like(k)),
    "expanded": lambda q, k: (torch.empty(1, 9, 4, 64).expand(2, 9, 4, 64), torch.empty_like(k)),
    "one for both": lambda q, k: (x := torch.empty(2, 9, 4, 64), x[:, :, :2]),
    "q's into k": lambda q, k: (torch.empty_like(q), q[:, :, :2]),
    "requires grad": lambda q, k: (torch.empty_like(q).requires_grad_(), torch.empty_like(k)),
    "negated": lambda q, k: (torch._neg_view(torch.empty_like(q)), torch.empty_like(k)),
    "none of k": lambda q, k: (torch.empty_like(q), None),
    "a list": lambda q, k: (torch.empty_like(q).tolist(), torch.empty_like(k)),
}


@pytest.mark.parametrize("case", REFUSED_BUFFERS)
def test_the_fast_call_leaves_other_buffers_to_the_checks(case: str, table: rk.RotaryTable) -> None:
    q, k = draw(2, 9, 4, 64), draw(2, 9, 2, 64)
    out = REFUSED_BUFFERS[case](q, k)
    before = q.clone(), k.clone()
    assert try_out(q, k, out, table) is False
    assert torch.equal(q, before[0])
    assert torch.equal(k, before[1])


strides = st.integers(0, 40)
offsets = st.integers(0, 60)
sizes = st.integers(1, 3)


@settings(deadline=None, max_examples=400)
@given(
    shape=st.tuples(sizes, sizes),
    nheads=st.tuples(sizes, sizes),
    outer=st.tuples(strides, strides),
    heads_strides=st.tuples(strides, strides),
    start=st.tuples(offsets, offsets),
    shared=st.booleans(),
    more=st.tuples(strides, strides),
)
def test_whatever_the_fast_call_writes_in_place_it_writes_once(
    shape: tuple[int, int],
    nheads: tuple[int, int],
    outer: tuple[int, int],
    heads_strides: tuple[int, int],
    start: tuple[int, int],
    shared: bool,
    more: tuple[int, int],
) -> None:
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=4, rope_theta=1e4))
    storage = torch.zeros(400)
    index = torch.arange(400)
    views, places = [], []
    for which in range(2):
        size = (*shape, nheads[which], 4)
        between = outer if shared or which == 0 else more
        stride = (*between, heads_strides[which], 1)
        views.append(storage.as_strided(size, stride, start[which]))
        places.append(index.as_strided(size, stride, start[which]).flatten())
    position_ids = torch.arange(shape[1])
    ran = compiled.fast_rotary_qk(*views, position_ids, table, False, False, "exact", True)
    every = torch.cat(places)
    if ran:
        assert len(every.unique()) == len(every)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_bits_do_not_depend_on_threads(threads: int, table: rk.RotaryTable) -> None:
    q = draw(517, 8, 64)
    want = rk.apply_rotary_qk(q, None, torch.arange(517), table, impl="torch")[0]
    one, many = torch.full_like(q, float("nan")), torch.full_like(q, float("nan"))
    for out, count in ((one, 1), (many, threads)):
        extension.rotary_qk(spec_of(q, None, out, None, torch.arange(517), table), count)
    assert torch.equal(one, many)
    torch.testing.assert_close(one, want, rtol=0, atol=1e-5)


def test_threads_of_its_own_where_no_openmp_is_used() -> None:
    """Without the runtime's entry points the ranges run on threads started for the call."""
    program = """
import torch, ropescale_kernels as rk, ropescale_kernels._C as extension
from ropescale_kernels.ops.arguments import RotaryQKSpec
extension.set_tensor_type(torch.Tensor)
table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
q, positions = torch.randn(2000, 8, 64), torch.arange(2000)
outs = [torch.full_like(q, float("nan")) for _ in range(2)]
for out, threads in zip(outs, (1, 3)):
    spec = RotaryQKSpec(q, None, positions, None, table, False, False, False, q_out=out)
    extension.rotary_qk(spec, threads)
assert torch.equal(*outs)
print(extension.use_loaded_openmp("torch"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "omp" in done.stdout
