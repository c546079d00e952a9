"""Given cos and sin: the order of a row, any last stride, M-RoPE axes, and axes for heads.

The truth is the half rows of one axis, which the definition reads too. A comparison has a control:
another order, or another order of axes, has other bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.rows import differ, doubled, half, half_rows, repeated, strided
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import ropescale_kernels as rk
from ropescale_kernels.ops.check import check_rotary_cos_sin
from ropescale_kernels.table.mrope import axis_of_each_pair
from tools.contract import ROWS, Case, rows_of, tensors
from tools.contract.draws import DTYPES, draw

SameBits = Callable[..., None]
SECTIONS = ([16, 8, 8], False), ([12, 10, 10], True), ([0, 20, 12], False), ([32], False)
pytestmark = [
    # A call that reaches torch operations says so once in a process.
    pytest.mark.filterwarnings("ignore::ropescale_kernels.RopeScaleWarning"),
    # torch.func and torch.compile import code that torch itself has deprecated.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("by_index", [False, True])
def test_every_order_and_stride_has_the_bits_of_half_rows(
    impl: str, interleaved: bool, by_index: bool, same_bits: SameBits
) -> None:
    index = torch.tensor([[5, 0, 3], [1, -1, 9]]) if by_index else None
    flags: dict[str, Any] = {"interleaved": interleaved, "impl": impl}
    dtype, rows_dtype = (DTYPES[2], DTYPES[0]) if interleaved else DTYPES[:2]
    heads = draw(2, 3, 3, 70, dtype=dtype), draw(2, 3, 1, 70, dtype=dtype, seed=1)
    cos, sin = half_rows(9 if by_index else 3, 33, dtype=rows_dtype)

    def call(cos: Tensor, sin: Tensor, rows: str) -> Any:
        return rk.apply_rotary_cos_sin(*heads, cos, sin, index, rows=rows, **flags)

    want = call(cos, sin, "half")
    for rows, made, of_cos, of_sin in (
        ("half", half, 2, 2),
        ("half", half, 1, 3),
        ("doubled", doubled, 1, 1),
        ("doubled", doubled, 5, 1),
        ("repeated", repeated, 1, 1),
        ("repeated", repeated, 3, 2),
    ):
        same_bits(call(strided(made(cos), of_cos), strided(made(sin), of_sin), rows), want)
    assert differ(call(doubled(cos), doubled(sin), "repeated"), want)
    # One value for all pairs has a last stride of 0.
    flat = [x[:, :1].expand(x.shape) for x in (cos, sin)]
    same_bits(call(*flat, "half"), call(*(x.contiguous() for x in flat), "half"))


@pytest.mark.parametrize("interleaved", [False, True])
def test_parts_of_complex_rows(impl: str, interleaved: bool, same_bits: SameBits) -> None:
    q, (cos, sin) = draw(5, 3, 64), half_rows(5, 32)
    freqs_cis = torch.complex(cos, sin)
    flags: dict[str, Any] = {"rows": "half", "interleaved": interleaved, "impl": impl}
    want = rk.apply_rotary_cos_sin(q, None, cos, sin, **flags)
    parts = torch.view_as_real(freqs_cis)
    for given in ((freqs_cis.real, freqs_cis.imag), (parts[..., 0], parts[..., 1])):
        same_bits(rk.apply_rotary_cos_sin(q, None, *given, **flags), want)
    # The imaginary part of a lazy conjugate is a lazy negation.
    lazy = freqs_cis.conj()
    assert lazy.imag.is_neg()
    back = rk.apply_rotary_cos_sin(q, None, lazy.real, lazy.imag, **flags)
    same_bits(back, rk.apply_rotary_cos_sin(q, None, cos, sin, conjugate=True, **flags))
    assert differ(back, want)
    if interleaved and impl != "torch":
        product = torch.view_as_complex(q.unflatten(-1, (-1, 2))) * freqs_cis[:, None]
        turned = torch.view_as_real(product).flatten(-2)
        torch.testing.assert_close(want[0], turned, rtol=0, atol=4 * 2.0**-24 * 8)


def test_no_row_is_copied() -> None:
    q, (cos, sin) = draw(2, 5, 3, 64), half_rows(5, 32)
    freqs_cis = torch.complex(cos, sin)
    of_axes = half_rows(3, 5, 32)
    flags: dict[str, Any] = {"rows": "half", "rotary_dim": None}
    flags |= {"interleaved": False, "conjugate": False}
    for given, more in (
        ((freqs_cis.real, freqs_cis.imag), {}),
        ((repeated(cos)[:, None, None], repeated(sin)[:, None, None]), {"rows": "repeated"}),
        (of_axes, {"mrope_section": [16, 8, 8]}),
    ):
        spec = check_rotary_cos_sin(q, None, *given, None, **(flags | more))
        for x, y in zip((spec.cos, spec.sin), given, strict=True):
            assert x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()


# Axes of M-RoPE, and axes for heads.


@pytest.mark.parametrize(("section", "turns"), SECTIONS)
def test_each_pair_reads_the_rows_of_its_axis(
    impl: str, section: list[int], turns: bool, same_bits: SameBits
) -> None:
    q, k = draw(2, 5, 3, 70, dtype=torch.float16), draw(2, 5, 1, 70, dtype=torch.float16, seed=1)
    axes = axis_of_each_pair(section, turns, 32)
    flags: dict[str, Any] = {"interleaved": turns, "impl": impl}
    more = flags | {"mrope_section": section, "mrope_interleaved": turns}
    for batch in (2, 1):
        cos, sin = half_rows(len(section), batch, 5, 32, dtype=torch.bfloat16)
        chosen = [torch.stack([x[axis, ..., j] for j, axis in enumerate(axes)], -1)
                  for x in (cos, sin)]  # fmt: skip
        want = rk.apply_rotary_cos_sin(q, k, *chosen, rows="half", **flags)
        for rows, made, stride in (
            ("half", half, batch),
            ("doubled", doubled, 1),
            ("repeated", repeated, 1),
        ):
            given = strided(made(cos), stride), strided(made(sin), stride)
            same_bits(rk.apply_rotary_cos_sin(q, k, *given, rows=rows, **more), want)
        if len(section) > 1:
            wrong = rk.apply_rotary_cos_sin(q, k, cos.flip(0), sin.flip(0), rows="half", **more)
            assert differ(wrong, want)
    got = rk.apply_rotary_cos_sin(q, k, cos[:, 0], sin[:, 0], rows="half", **more)
    same_bits(got, want)


def test_axes_for_heads(impl: str, same_bits: SameBits) -> None:
    q, (cos, sin) = draw(3, 5, 2, 64), half_rows(3, 5, 32)
    flags: dict[str, Any] = {"rows": "half", "impl": impl}
    want = rk.apply_rotary_cos_sin(q, None, cos, sin, **flags)
    for axis in (1, 2):
        given = cos.unsqueeze(axis), sin.unsqueeze(axis)
        same_bits(rk.apply_rotary_cos_sin(q, None, *given, **flags), want)
    want = rk.apply_rotary_cos_sin(q, None, cos[1], sin[1], **flags)
    for shape in ((1, 1, 5, 32), (1, 5, 1, 32), (5, 1, 1, 32), (5, 1, 32)):
        given = cos[1].view(shape), sin[1].view(shape)
        same_bits(rk.apply_rotary_cos_sin(q, None, *given, **flags), want)
    packed = rk.apply_rotary_cos_sin(q[1], None, cos[1], sin[1], **flags)
    for shape in ((5, 1, 32), (5, 1, 1, 32)):
        given = cos[1].view(shape), sin[1].view(shape)
        same_bits(rk.apply_rotary_cos_sin(q[1], None, *given, **flags), packed)
    # One token of each sequence.
    one = rk.apply_rotary_cos_sin(q[:, :1], None, cos[:, :1], sin[:, :1], **flags)
    given = cos[:, :1, None], sin[:, :1, None]
    same_bits(rk.apply_rotary_cos_sin(q[:, :1], None, *given, **flags), one)
    # Behind an axis of M-RoPE.
    more = flags | {"mrope_section": (20, 12)}
    both = torch.stack((cos, cos.flip(1))), torch.stack((sin, sin.flip(1)))
    want = rk.apply_rotary_cos_sin(q, None, *both, **more)
    given = both[0].unsqueeze(2), both[1].unsqueeze(2)
    same_bits(rk.apply_rotary_cos_sin(q, None, *given, **more), want)


# Autograd, torch.func, compilers and fake tensors.


def inputs_of(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return q, k, cos and sin of a call of the contract."""
    q, k = tensors(Case(), torch.float32)
    assert k is not None
    return q, k, *rows_of(ROWS[name], torch.float32)[:2]


def rotated(name: str, *inputs: Tensor, **more: Any) -> Any:
    options = ROWS[name].options | more
    return rk.apply_rotary_cos_sin(*inputs, ROWS[name].index, **options)


@pytest.mark.parametrize("name", ROWS)
def test_gradients_are_the_conjugate(name: str, same_bits: SameBits) -> None:
    q, k, *rows = inputs_of(name)
    upstream = draw(*q.shape, seed=5), draw(*k.shape, seed=6)
    results = rotated(name, q.requires_grad_(), k.requires_grad_(), *rows)
    grads = torch.autograd.grad(results, (q, k), upstream)
    conjugate = not ROWS[name].options.get("conjugate", False)
    same_bits(grads, rotated(name, *upstream, *rows, conjugate=conjugate))
    assert differ(grads, rotated(name, *upstream, *rows, conjugate=not conjugate))


@pytest.mark.parametrize("name", ROWS)
def test_vmap(name: str, same_bits: SameBits) -> None:
    q, k, cos, sin = inputs_of(name)
    is_mapped = ROWS[name].index is None
    both = [torch.stack((x, x.flip(0))) for x in (q, k, cos, sin)]
    given = both if is_mapped else [*both[:2], cos, sin]
    dims = (0, 0, 0, 0) if is_mapped else (0, 0, None, None)
    got = torch.vmap(lambda *inputs: rotated(name, *inputs), in_dims=dims)(*given)
    for i in (0, 1):
        rows = (x[i] for x in both[2:]) if is_mapped else (cos, sin)
        same_bits((got[0][i], got[1][i]), rotated(name, both[0][i], both[1][i], *rows))


@pytest.mark.parametrize("name", ROWS)
def test_results_without_data(name: str) -> None:
    inputs = inputs_of(name)
    want = rotated(name, *inputs)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in inputs]
        index = ROWS[name].index
        index = None if index is None else mode.from_tensor(index)
        got = rk.apply_rotary_cos_sin(*fakes, index, **ROWS[name].options)
    for x, y in zip(got, want, strict=True):
        assert (x.shape, x.stride(), x.dtype) == (y.shape, y.stride(), y.dtype)


@pytest.fixture
def new_compiler() -> None:
    """Forget graphs of other calls, because torch.compile keeps a limited number."""
    torch._dynamo.reset()


@pytest.mark.usefixtures("new_compiler")
@pytest.mark.parametrize("name", ROWS)
def test_one_graph(name: str, same_bits: SameBits) -> None:
    inputs = inputs_of(name)
    run = torch.compile(lambda *inputs: rotated(name, *inputs), fullgraph=True, backend="aot_eager")
    same_bits(run(*inputs), rotated(name, *inputs))


@pytest.mark.slow
@pytest.mark.usefixtures("new_compiler")
@pytest.mark.parametrize("name", ["repeated", "real parts", "axes in turns, repeated"])
def test_rows_that_a_compiler_computes(name: str, same_bits: SameBits) -> None:
    q, k, cos, sin = inputs_of(name)

    def call(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        # Views with a last stride of 2, of a buffer that the graph makes.
        return rotated(name, q, k, *torch.stack((cos * 2, sin + 1), -1).unbind(-1))

    same_bits(torch.compile(call, fullgraph=True)(q, k, cos, sin), call(q, k, cos, sin))


class Rotate(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> Any:
        return rotated(self.name, q, k, cos, sin)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["repeated", "real parts", "axes", "an axis for heads first"])
def test_an_exported_program_on_other_inputs(name: str, strict: bool, same_bits: SameBits) -> None:
    inputs = inputs_of(name)
    program = torch.export.export(Rotate(name), inputs, strict=strict)
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert torch.ops.ropescale.rotary_cos_sin.default in called
    others = tuple(x.flip(0) for x in copy.deepcopy(inputs))
    # A flip is contiguous, and rows are to keep their strides.
    others = *others[:2], *(x.clone().copy_(y) for x, y in zip(inputs[2:], others[2:], strict=True))
    got = program.module()(*others)
    same_bits(got, rotated(name, *others))
    assert differ(got, rotated(name, *inputs))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_the_operator_with_axes_and_strides_is_a_proper_operator(requires_grad: bool) -> None:
    q = draw(2, 5, 3, 64).requires_grad_(requires_grad)
    rows = [strided(x, 2) for x in half_rows(3, 2, 5, 32)]
    arguments = q, draw(2, 5, 1, 64), *rows, None, 64, True, False, "auto", [12, 10, 10], True
    torch.library.opcheck(torch.ops.ropescale.rotary_cos_sin.default, arguments)


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_operator_reads_the_first_half_as_saved_programs_expect(
    interleaved: bool, same_bits: SameBits
) -> None:
    q, (cos, sin) = draw(5, 3, 64), half_rows(5, 64)
    got = torch.ops.ropescale.rotary_cos_sin(
        q, None, cos, sin, None, 64, interleaved, False, "auto"
    )[0]
    flags: dict[str, Any] = {"rows": "half", "interleaved": interleaved}
    same_bits(got, rk.apply_rotary_cos_sin(q, None, cos[:, :32], sin[:, :32], **flags)[0])
