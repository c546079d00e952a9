"""Every access of the interpreted kernels is in bounds, ordered and complete; planted bugs show."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from support.pairwise import pairwise
from support.sanitizer import AccessError, sanitized
from torch import Tensor

import ropescale_kernels as rk
from ropescale_kernels.ops import check
from ropescale_kernels.ops.arguments import RotaryQKSpec
from tools.contract import CALLS, TILES, Case, layouts, table_of, tensors
from tools.contract.draws import yarn

pytest.importorskip("triton")
from triton.runtime.errors import InterpreterError

kernels: Any = importlib.import_module("ropescale_kernels.backends.triton")
pytestmark = pytest.mark.skipif(
    kernels.excluded_from_auto() is None, reason="Triton compiles here: compute-sanitizer does this"
)
FOUND = (AccessError, InterpreterError)
FOLDER = Path(kernels.__file__).parent


def accessed(spec: Any) -> tuple[list[Tensor], list[Tensor]]:
    """What a call may read, and what it has to write."""
    state = spec.table.state if isinstance(spec, RotaryQKSpec) else ()
    inputs, outputs = (
        [*(getattr(spec, name) for name in spec.INPUTS), *state],
        [spec.q_out, spec.k_out],
    )
    if spec.q_out is spec.q:
        # In place, channels beyond are no business of the kernel's.
        outputs = [None if x is None else x[..., : spec.rotary_dim] for x in outputs]
        inputs[:2] = outputs
    return [x for x in inputs if x is not None], [x for x in outputs if x is not None]


def run(package: ModuleType | Any, spec: Any) -> None:
    """Launch under the sanitizer, into buffers of other strides unless the call is in place."""
    if spec.q_out is None:
        spec.q_out = torch.full_like(spec.q, torch.nan, memory_format=torch.contiguous_format)
        if spec.k is not None:
            spec.k_out = torch.full_like(spec.k, torch.nan, memory_format=torch.contiguous_format)
    stem = "rotary_qk" if isinstance(spec, RotaryQKSpec) else "rotary_cos_sin"
    module = importlib.import_module(f"{package.__name__}.{stem}")
    with sanitized(*accessed(spec)) as watch:
        getattr(module, f"launch_{stem}")(spec)
    assert watch.loads > 0
    assert watch.stores == len(watch.written)


def run_all(package: Any, specs: list[Any]) -> None:
    for spec in specs:
        run(package, spec)


def heads(*shape: int, layout: str = "contiguous") -> Tensor:
    """(batch, seqlen, nheads, head_dim); the views have gaps that nothing may touch."""
    batch, seqlen, nheads, head_dim = shape
    return layouts.ONE[layout](torch.ones, (batch, seqlen, nheads, head_dim))


def spec_of(case: Case, dtype: torch.dtype, in_place: bool = False) -> Any:
    options = {"interleaved": False, "conjugate": False, "phase": "exact"} | case.options
    return check.check_rotary_qk(
        *tensors(case, dtype),
        case.position_ids,
        table_of(case),
        case.profile_ids,
        in_place=in_place,
        **options,
    )


@pytest.mark.parametrize(
    ("layout", "name", "interleaved", "in_place"),
    pairwise(
        ["contiguous", "heads first", "packed", "padded"], list(TILES), [False, True], [False, True]
    ),
)
def test_every_access_is_clean(layout: str, name: str, interleaved: bool, in_place: bool) -> None:
    case = replace(TILES[name], layout=layout, options={"interleaved": interleaved})
    run(kernels, spec_of(case, torch.float32, in_place))
    beyond = replace(case, head_dim=case.rotary_dim + 7)
    run(kernels, spec_of(beyond, torch.bfloat16, in_place))


# A call without tokens launches nothing.
@pytest.mark.parametrize("name", [name for name, case in CALLS.items() if case.seqlen])
def test_every_call_of_the_contract_is_clean(name: str) -> None:
    run(kernels, spec_of(CALLS[name], torch.float16))


def qk_spec(**options: Any) -> Any:
    """A call that has everything: profiles out of range, axes, a blend, channels beyond."""
    scalings = [yarn(24, mrope_section=[4, 4, 4]) for _ in range(3)]
    options = {"interleaved": False, "conjugate": False, "phase": "exact"} | options
    return check.check_rotary_qk(
        heads(2, 17, 5, 30, layout="padded"),
        heads(2, 17, 3, 30, layout="heads first"),
        torch.arange(3 * 2 * 20).view(3, 2, 20)[:, :, 2:19],
        rk.RotaryTable(scalings, dynamic=True),
        torch.tensor([0, 2, 7, -1, 2**31 - 1, -(2**31)], dtype=torch.int32).repeat(2, 3)[:, 1:],
        **options,
    )


def cos_sin_spec(rows: bool) -> Any:
    table = torch.ones(2, 17, 30)[..., :12] if not rows else torch.ones(6, 30)[:, :12]
    index = torch.tensor([0, 5, 6, -1, 2**62]).repeat(2, 4)[:, :17] if rows else None
    return check.check_rotary_cos_sin(
        heads(2, 17, 5, 30, layout="padded"),
        heads(2, 17, 3, 30),
        table,
        table.clone(),
        index,
        rows="half",
        rotary_dim=24,
        interleaved=True,
        conjugate=True,
    )


def axes_spec(turns: bool) -> Any:
    """A call with rows of three axes, of which every third value is a pair's."""
    rows = torch.ones(3, 2, 17, 30)[..., 1:30:3]
    return check.check_rotary_cos_sin(
        heads(2, 17, 5, 30, layout="padded"),
        None,
        rows,
        rows.clone()[..., :10],
        None,
        rows="half",
        rotary_dim=20,
        mrope_section=(4, 3, 3),
        mrope_interleaved=turns,
        interleaved=turns,
        conjugate=False,
    )


@pytest.mark.parametrize("phase", ["exact", "float32"])
@pytest.mark.parametrize("interleaved", [False, True])
def test_every_option_is_clean(phase: str, interleaved: bool) -> None:
    run(kernels, qk_spec(phase=phase, interleaved=interleaved))


@pytest.mark.parametrize("rows", [False, True])
def test_rows_of_the_caller_are_clean(rows: bool) -> None:
    run(kernels, cos_sin_spec(rows))


@pytest.mark.parametrize("turns", [False, True])
def test_rows_of_axes_are_clean(turns: bool) -> None:
    run(kernels, axes_spec(turns))


@pytest.mark.parametrize("interleaved", [False, True])
def test_sums_of_gradients_are_clean(monkeypatch: pytest.MonkeyPatch, interleaved: bool) -> None:
    module: Any = importlib.import_module(f"{kernels.__name__}.scaling_grad")
    launch, seen = module.launch, []

    def watched(kernel: Any, spec: Any, source: Any, **options: Any) -> None:
        tables = [x for x in source.tensors[:-1] if x is not None]
        rows = [x[..., :24] for x in (spec.q, spec.k, spec.q_out, spec.k_out)]
        with sanitized([*tables, *rows], [source.tensors[-1]]) as watch:
            launch(kernel, spec, source, **options)
        seen.append(watch.stores)

    monkeypatch.setattr(module, "launch", watched)
    spec = qk_spec(interleaved=interleaved)
    spec = replace(spec, table=rk.RotaryTable(yarn(24, mrope_section=[4, 4, 4])))
    grads = heads(2, 17, 5, 30), heads(2, 17, 3, 30, layout="packed")
    module.launch_rotary_qk_scaling_grad(spec, *grads)
    assert seen == [2 * 2 * 14]


# File, what it says, what a mutant says.
MUTANTS = [
    ("rotate", "tokens < seqlen", "tokens <= seqlen"),
    ("cos_sin", "mask_position = mask_token[:, None]", "mask_position = True"),
    ("cos_sin", "tl.where(valid, profile, 0)", "profile"),
    ("rotate", "tl.minimum(last, nheads)", "last"),
    ("rotate", "tl.minimum(last - nheads, nheads_k)", "last - nheads"),
    ("rotate", "tl.maximum(first - nheads, 0)", "first - nheads"),
    ("rotate", "batch * stride_q_out_batch", "batch * stride_q_batch"),
    ("cos_sin", "offs_pair < NUM_PAIRS)[None, :]", "offs_pair < 99)[None, :]"),
    ("rotary_cos_sin", "(mask_token & valid)", "mask_token"),
    ("rotary_cos_sin", "offs_pair * stride_pair", "offs_pair"),
    ("rotary_cos_sin", "(axis + 1) * stride_axis", "(axis + 2) * stride_axis"),
    ("rotate", "(heads < last_head)", "(heads <= last_head)"),
    ("rotate", "0, BLOCK_PAIRS) < NUM_PAIRS", "0, BLOCK_PAIRS) <= NUM_PAIRS"),
    ("rotate", "< HEAD_DIM - first", "< HEAD_DIM - first + 1"),
    ("rotate", "if copy_rest:", "if copy_rest > 1:"),
    ("rotate", "offs_head * stride_out_head", "offs_head * stride_in_head"),
    ("launch_config", "-(-seqlen // tile.block_tokens)", "seqlen // tile.block_tokens"),
    ("rotate", "pid_head * heads_per_program", "pid_head * (heads_per_program - 1)"),
    ("launch_config", "-(-most_groups // steps))", "most_groups // steps)"),
]


@contextmanager
def mutant(folder: Path, file: str, old: str, new: str) -> Iterator[ModuleType]:
    """A copy of the kernels' package with one change."""
    package = folder / "mutant_kernels"
    package.mkdir()
    for source in FOLDER.glob("*.py"):
        text = source.read_text().replace("from ... import", "from ropescale_kernels import")
        text = text.replace("from ...", "from ropescale_kernels.")
        if source.stem == file:
            assert old in text, f"{file}.py no longer says {old!r}"
            text = text.replace(old, new)
        (package / source.name).write_text(text)
    spec = importlib.util.spec_from_file_location(
        "mutant_kernels", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["mutant_kernels"] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        for name in [name for name in sys.modules if name.startswith("mutant_kernels")]:
            del sys.modules[name]


@pytest.mark.parametrize(("file", "old", "new"), MUTANTS)
def test_planted_bugs_are_caught(tmp_path: Path, file: str, old: str, new: str) -> None:
    specs = [
        qk_spec(),
        qk_spec(interleaved=True),
        cos_sin_spec(rows=True),
        cos_sin_spec(rows=False),
        axes_spec(turns=False),
    ]
    # One token: heads are cut into groups.
    few = {"q": heads(1, 1, 12, 30), "k": heads(1, 1, 7, 30), "profile_ids": None}
    few["position_ids"] = torch.zeros(1, 1, dtype=torch.int32)
    specs.append(replace(specs[0], **few, q_out=None, k_out=None))
    found = "out-of-bounds|race|written|write one element"
    with mutant(tmp_path, file, old, new) as package, pytest.raises(FOUND, match=found):
        run_all(package, specs)


def test_a_copy_without_a_bug_is_clean(tmp_path: Path) -> None:
    with mutant(tmp_path, "launch_config", "tile", "tile") as package:
        run_all(package, [qk_spec(), cos_sin_spec(rows=True)])
