"""The instruction sets against one another, at sizes the definition is too slow for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.backends import compiled as compiled
from tools.contract.draws import DTYPES, yarn

SameBits = Callable[..., None]
extension: Any = compiled.extension
ISAS = extension.build_info()["cpu_isas"]
# Enough elements for a team of threads.
NUM_TOKENS = 2000


@pytest.fixture(autouse=True)
def restored(thread_team: None) -> Iterator[None]:
    before = extension.cpu_isa()
    yield
    extension.use_cpu_isa(before)


def table_of(rotary_dim: int) -> rk.RotaryTable:
    return rk.RotaryTable(yarn(rotary_dim))


def any_words(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Random bits: every exponent is drawn alike, those of denormals, infinity and NaN too."""
    words = torch.int32 if dtype == torch.float32 else torch.int16
    info, generator = torch.iinfo(words), torch.Generator().manual_seed(seed)
    bits = torch.randint(info.min, info.max + 1, shape, generator=generator, dtype=torch.int64)
    return bits.to(words).view(dtype)


def test_a_request_is_answered_by_the_set_in_force() -> None:
    best = ISAS.index(extension.build_info()["best_cpu_isa"])
    for asked, name in enumerate(ISAS):
        in_force = ISAS[min(asked, best)]
        assert extension.use_cpu_isa(name) == in_force
        assert extension.cpu_isa() == in_force


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("head_dim", "rotary_dim"), [(128, 128), (80, 46), (66, 66)])
def test_every_set_gives_the_same_bits_of_any_words(
    dtype: torch.dtype, interleaved: bool, head_dim: int, rotary_dim: int, same_bits: SameBits
) -> None:
    q = any_words((NUM_TOKENS // 4, 3, head_dim), dtype, seed=1)
    positions = any_words((NUM_TOKENS // 4, 2), torch.float32, seed=2).view(torch.int64)[:, 0]
    results = []
    for isa in ISAS:
        extension.use_cpu_isa(isa)
        call = (q, None, positions, table_of(rotary_dim))
        results.append(rk.apply_rotary_qk(*call, interleaved=interleaved, impl="cpu")[0])
    for other in results[1:]:
        same_bits(other, results[0])
    words = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(results[0].view(words)[..., rotary_dim:], q.view(words)[..., rotary_dim:])


def denormals(dtype: torch.dtype) -> Tensor:
    largest = torch.finfo(dtype).smallest_normal
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(NUM_TOKENS, 8, 64, generator=generator, dtype=torch.float64) * largest
    return x.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("num_tokens", [3, NUM_TOKENS])
def test_a_flushing_caller_gets_the_same_bits(
    isa: str, dtype: torch.dtype, num_tokens: int, same_bits: SameBits
) -> None:
    """The mode is a thread's own, so the flushing caller is a thread of its own."""
    extension.use_cpu_isa(isa)
    q, positions = denormals(dtype)[:num_tokens], torch.arange(num_tokens)
    call = (q, None, positions, table_of(64))
    want = rk.apply_rotary_qk(*call, impl="cpu")[0]
    smallest_normal = torch.finfo(dtype).smallest_normal
    assert ((want != 0) & (want.abs() < smallest_normal)).double().mean() > 0.5
    seen: dict[str, Any] = {}

    def flushing() -> None:
        seen["can"] = torch.set_flush_denormal(True)
        seen["got"] = rk.apply_rotary_qk(*call, impl="cpu")[0]
        seen["after"] = (torch.tensor([1e-39]) * 1.0).item()

    thread = threading.Thread(target=flushing)
    thread.start()
    thread.join()
    if not seen["can"]:
        pytest.skip("this processor cannot flush denormals")
    same_bits(seen["got"], want)
    assert seen["after"] == 0.0


@pytest.mark.parametrize("isa", ISAS)
def test_a_float16_result_rounds_to_infinity_at_the_right_value(isa: str) -> None:
    """65520 is the midpoint of the largest float16 and 2^16: it and all above are infinity."""
    extension.use_cpu_isa(isa)
    below = float(torch.nextafter(torch.tensor(65520.0), torch.tensor(0.0)))
    for result, want in ((below, 65504.0), (65520.0, float("inf")), (65535.0, float("inf"))):
        table = rk.RotaryTable.from_inv_freq(torch.zeros(20), attention_factor=result)
        q = torch.cat([torch.ones(1, 1, 20), -torch.ones(1, 1, 20)], -1).half()
        # With sine 0 an output is the factor times the input, in float32 and then rounded.
        got = rk.apply_rotary_qk(q, None, torch.tensor([0]), table, impl="cpu")[0]
        assert set(got[..., :20].flatten().tolist()) == {want}
        assert set(got[..., 20:].flatten().tolist()) == {-want}
