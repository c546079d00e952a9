"""Other packages' kernels are called as their documentation says, and left out with a reason.

The kernels of Liger, FlashInfer and SGLang need a GPU. Stand-ins of ours take their place, with the
signatures that their documentation gives: that proves our side of the call, nothing of theirs.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ropescale_kernels.bench import baselines, cases
from ropescale_kernels.bench.baselines import _engine, flashinfer, liger, onnxruntime, sglang

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ENGINES = [flashinfer, sglang]
# Rows of the tables of cos and sin; the window of the bench would be 32768.
FEW = {"batch": 2, "context": 4096}


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotate x (..., channels) in place by the first half of cos and sin."""
    half = cos.shape[-1]
    x0, x1 = x[..., :half].float(), x[..., half : 2 * half].float()
    x[..., :half], x[..., half : 2 * half] = x0 * cos - x1 * sin, x1 * cos + x0 * sin


def by_cache(positions: Tensor, q: Tensor, k: Tensor, cache: Tensor) -> None:
    """Rotate rows (num_tokens, nheads, head_dim) in place by a table of cos and then sin."""
    assert cache.dtype == torch.float32
    assert cache.is_contiguous()
    assert positions.shape == (len(q),) == (len(k),)
    cos, sin = cache[positions].unsqueeze(1).chunk(2, dim=-1)
    for x in (q, k):
        rotate(x, cos, sin)


def flashinfer_rope(
    positions: Tensor,
    query: Tensor,
    key: Tensor,
    head_size: int,
    cos_sin_cache: Tensor,
    is_neox: bool = True,
) -> None:
    assert is_neox
    assert query.dim() == 2
    views = (x.view(len(x), -1, head_size) for x in (query, key))
    by_cache(positions, *views, cos_sin_cache)


def sglang_rope(
    q: Tensor,
    k: Tensor,
    cos_sin_cache: Tensor,
    positions: Tensor,
    *,
    is_neox: bool,
    rope_dim: int = 0,
) -> None:
    assert is_neox
    assert q.shape[-1] == k.shape[-1] == cos_sin_cache.shape[-1]
    assert q.stride(1) == k.stride(1)
    by_cache(positions, q, k, cos_sin_cache)


def liger_rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Write in place where memory has tokens before heads, else into copies."""
    q, k = (x.transpose(1, 2).contiguous() for x in (q, k))
    half = cos.shape[-1] // 2
    for x in (q, k):
        rotate(x, cos[..., :half].unsqueeze(2).float(), sin[..., :half].unsqueeze(2).float())
    return q.transpose(1, 2), k.transpose(1, 2)


def install(monkeypatch: pytest.MonkeyPatch, path: str, **names: Any) -> None:
    """Put a stand-in module where `path` would be imported from."""
    parts = path.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name, value in names.items():
        setattr(sys.modules[path], name, value)


@pytest.fixture(autouse=True)
def _fresh_loads() -> Iterator[None]:
    """Forget what was loaded, before and after."""
    loads = (flashinfer._load, sglang._load, _engine.prebuilt)
    for load in loads:
        load.cache_clear()
    yield
    for load in loads:
        load.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three packages, played."""
    install(monkeypatch, "flashinfer.rope", apply_rope_with_cos_sin_cache_inplace=flashinfer_rope)
    install(monkeypatch, "sglang.kernels.ops.attention.rope", apply_rope_inplace=sglang_rope)
    install(monkeypatch, "liger_kernel.transformers.rope", liger_rotary_pos_emb=liger_rope)


@pytest.fixture
def prebuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Libraries of tools/gpu/build_peers.py, played."""

    def engine(q: Tensor, k: Tensor, cache: Tensor, positions: Tensor) -> None:
        sglang_rope(q, k, cache, positions, is_neox=True)

    def their_operator(
        q: Tensor, k: Tensor, q_rope: Tensor, k_rope: Tensor, cache: Tensor, at: Tensor, pairs: bool
    ) -> None:
        assert q_rope is q
        assert k_rope is k
        assert pairs is False
        by_cache(at, q, k, cache)

    modules = {
        "flashinfer_rope.so": {"apply_rope_pos_ids_cos_sin_cache": their_operator},
        "sglang_rope.so": {
            f"run_rope_{rotary_dim}_{dtype}": engine
            for rotary_dim in {case.rotary_dim for case in cases.MODELS.values()}
            for dtype in ("bfloat16", "float16")
        },
    }
    for name in modules:
        (tmp_path / name).write_bytes(b"")
    for name in ("flashinfer", "sglang"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("ROPESCALE_PEERS", str(tmp_path))
    load = lambda path: types.SimpleNamespace(**modules[Path(path).name])  # noqa: E731
    install(monkeypatch, "tvm_ffi", load_module=load)


def shapes() -> list[cases.Case]:
    found = [replace(case, seqlen=5, **FEW) for case in cases.MODELS.values()]
    return [replace(case, layout=layout) for case in found for layout in cases.LAYOUTS]


def check(peer: Any, case: cases.Case) -> bool:
    """Check the answer on a case, if it is supported; the timed call stays finite."""
    if peer.BASELINE.unsupported(case) is not None:
        return False
    inputs = cases.make_inputs(case)
    before = inputs.q.clone()
    call = peer.BASELINE.prepare(inputs)
    truth = baselines.float64_reference(inputs)
    for _ in range(3):
        call.run()
    assert baselines.is_same_rotation(call.result(), truth)
    # bfloat16's rounding of |x| below 7, and the float32 angle's error.
    assert baselines.error_against(call.result(), truth) < 0.06
    assert torch.equal(inputs.q, before)
    return True


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("peer", [*ENGINES, liger], ids=lambda p: p.BASELINE.name)
def test_installed_packages_are_called_as_documented(peer: Any) -> None:
    assert sum(check(peer, case) for case in shapes()) >= 12
    single = [replace(case, batch=1, dtype="float16") for case in shapes()]
    assert sum(check(peer, case) for case in single) >= 12


@pytest.mark.usefixtures("prebuilt")
@pytest.mark.parametrize("peer", ENGINES, ids=lambda p: p.BASELINE.name)
def test_built_libraries_are_called_as_their_bindings_say(peer: Any) -> None:
    assert peer.BASELINE.unavailable(GPU) is None
    assert sum(check(peer, case) for case in shapes()) >= 12


@pytest.mark.parametrize("peer", [*ENGINES, liger], ids=lambda p: p.BASELINE.name)
def test_what_needs_a_gpu_says_so(peer: Any) -> None:
    reason = peer.BASELINE.unavailable(CPU)
    assert reason is not None
    assert "CUDA" in reason


@pytest.mark.parametrize("peer", ENGINES, ids=lambda p: p.BASELINE.name)
def test_what_is_not_there_says_where_it_would_be(
    peer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("flashinfer", "sglang"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delenv("ROPESCALE_PEERS", raising=False)
    assert "ROPESCALE_PEERS" in peer.BASELINE.unavailable(GPU)
    monkeypatch.setenv("ROPESCALE_PEERS", str(tmp_path))
    assert "_rope.so" in peer.BASELINE.unavailable(GPU)


@pytest.mark.parametrize(
    ("peer", "change", "words"),
    [
        (flashinfer, {"head_dim": 96}, "head_dim 96"),
        (flashinfer, {"dtype": "float32"}, "float16 and bfloat16"),
        (flashinfer, {"layout": "heads-first"}, "side by side"),
        (sglang, {"dtype": "float32"}, "float16 and bfloat16"),
        (sglang, {"layout": "heads-first"}, "side by side"),
        (onnxruntime, {"dtype": "bfloat16"}, "no bfloat16 kernel"),
        (onnxruntime, {"layout": "packed-qkv", "dtype": "float32"}, "contiguous"),
    ],
)
def test_what_a_kernel_does_not_take_is_said(peer: Any, change: dict[str, Any], words: str) -> None:
    assert words in peer.BASELINE.unsupported(replace(cases.prefill("llama-3.1-70b-tp8"), **change))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["contiguous", "heads-first"])
@pytest.mark.parametrize("model", cases.MODELS)
def test_onnxruntime_gives_the_right_answer(model: str, layout: str, dtype: str) -> None:
    assert onnxruntime.BASELINE.unavailable(CPU) is None
    for seqlen in (5, 1):
        case = replace(cases.MODELS[model], seqlen=seqlen, layout=layout, dtype=dtype, **FEW)
        assert check(onnxruntime, case)


def test_onnxruntime_runs_on_the_cpu_and_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "CPU" in (onnxruntime.BASELINE.unavailable(GPU) or "")
    monkeypatch.setattr(onnxruntime, "package_version", lambda name: None)
    assert onnxruntime.BASELINE.unavailable(CPU) == "onnxruntime, onnx not installed"


@pytest.mark.parametrize("peer", [*ENGINES, onnxruntime], ids=lambda p: p.BASELINE.name)
def test_tables_by_position_count_what_they_keep(peer: Any) -> None:
    case = replace(cases.prefill("glm-4-9b"), dtype="float32")
    (cos, sin) = baselines._baseline.float32_table(cases.make_inputs(case), 1.0)
    assert peer.BASELINE.table_bytes(case, case.context) == cos.nbytes + sin.nbytes
