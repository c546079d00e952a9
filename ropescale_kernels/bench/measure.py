"""Checking and timing: the rows of a case, and the call cost of a contender."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from .baselines import (
    COMPILED,
    COPY_BOUNDS,
    COPY_BOUNDS_ON_DEVICE,
    EAGER,
    ON_DEVICE,
    OPTIONS,
    OURS,
    PEERS,
    Baseline,
    Call,
    copy_bound_of,
    error_against,
    float64_reference,
    is_same_rotation,
)
from .cases import Case, Inputs, make_inputs
from .clocks import Clock, graph_of
from .machine import malloc_setting, name_of
from .report import CallCost, LeftOut, Row
from .timing import Timing, host_overhead, interleave

# Serving engines replay a step of at most so many tokens as a CUDA graph.
_MOST_TOKENS_OF_A_GRAPH = 64
# Calls in one CUDA graph, each on buffers of its own, as the layers of a model are.
_CALLS_IN_A_GRAPH = 24
POSITIONS = (1000, 32767, 131071, 1048575, 9999991)
# Positions looked at below each of POSITIONS.
_WINDOW = 16
CONTEXTS = (32768, 131072, 1048576, 10485760)
_COPY_BOUND_NAMES = {baseline.name for baseline in COPY_BOUNDS_ON_DEVICE}
_NOT_OTHERS = _COPY_BOUND_NAMES | {baseline.name for baseline in (*OURS, *ON_DEVICE, *OPTIONS)}


def chosen(peers: Iterable[str], device: torch.device) -> tuple[list[Baseline], LeftOut]:
    """Return the contenders that can run on a device, and the reasons why others cannot.

    Args:
        peers: Keys of PEERS.
        device: Device of the tensors.

    Returns:
        The copy bounds, this package and the peers that can run; the others with their reasons.
    """
    on_device = device.type == "cuda"
    found: list[Baseline] = [*(COPY_BOUNDS_ON_DEVICE if on_device else COPY_BOUNDS), *OURS]
    optional = list(ON_DEVICE) if on_device else []
    for name in dict.fromkeys(peers):
        optional += PEERS[name]
    left_out: LeftOut = {}
    for baseline in optional:
        reason = baseline.unavailable(device)
        if reason is None:
            found.append(baseline)
        else:
            left_out[f"{baseline.name}: {reason}"] = []
    return found, left_out


def measure(
    case: Case,
    baselines: Iterable[Baseline],
    *,
    device: torch.device,
    clock: Clock,
    seconds: float,
) -> tuple[list[Row], LeftOut]:
    """Check the answer of every contender on a case, then time those whose answer is right.

    Args:
        case: The shape.
        baselines: From `chosen`. If the case asks for options, this package's are added.
        device: Device of the tensors.
        clock: Clock of that device.
        seconds: Rough time to spend. Hot caches, flushed caches (if the clock resolves a single
            call) and the replay of a CUDA graph (for few tokens on a GPU) share it.

    Returns:
        Rows, and the contenders and caches that were left out, each with its reason.
    """
    inputs = make_inputs(case, device)
    calls, errors, left_out = _checked(case, inputs, baselines)
    runs = {name: call.run for name, call in calls.items()}
    kinds = ["hot"]
    if _resolved(runs, clock):
        kinds.append("flushed")
    else:
        left_out[f"flushed caches: a call takes less than {clock.resolution * 1e6:.0f} us"] = [
            _name(case)
        ]
    graphs: dict[str, Callable[[], object]] = {}
    if device.type == "cuda" and case.tokens <= _MOST_TOKENS_OF_A_GRAPH:
        graphs, uncaptured = _captured(case, calls)
        left_out |= uncaptured
        if all(name in graphs for name in calls if name in _COPY_BOUND_NAMES):
            kinds.append("graph")
    rows: list[Row] = []
    for kind in kinds:
        times = interleave(
            graphs if kind == "graph" else runs,
            seconds=seconds / len(kinds),
            clock=clock,
            cache="flushed" if kind == "flushed" else "hot",
            calls_each=_CALLS_IN_A_GRAPH if kind == "graph" else 1,
        )
        rows += _rows(case, kind, calls, errors, times, device)
    return rows, left_out


def _name(case: Case) -> str:
    return f"{case.name} {case.dtype} {case.tokens}"


def _resolved(runs: dict[str, Callable[[], object]], clock: Clock) -> bool:
    """Return whether the clock resolves the quickest copy bound after a flush of the caches."""
    if not clock.resolution:
        return True
    bounds = {name: run for name, run in runs.items() if name in _COPY_BOUND_NAMES}
    times = interleave(bounds, seconds=0, clock=clock, cache="flushed")
    return min(time.p50 for time in times.values()) >= clock.resolution * 1e6


def _captured(
    case: Case, calls: dict[str, Call]
) -> tuple[dict[str, Callable[[], object]], LeftOut]:
    replays: dict[str, Callable[[], object]] = {}
    left_out: LeftOut = {}
    for name, call in calls.items():
        try:
            replays[name] = graph_of([call.on_own_buffers() for _ in range(_CALLS_IN_A_GRAPH)])
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            left_out[f"{name}: no CUDA graph: {reason}"] = [_name(case)]
    return replays, left_out


def _checked(
    case: Case, inputs: Inputs, baselines: Iterable[Baseline]
) -> tuple[dict[str, Call], dict[str, float | None], LeftOut]:
    truth = float64_reference(inputs)
    calls: dict[str, Call] = {}
    errors: dict[str, float | None] = {}
    left_out: LeftOut = {}
    for baseline in (*baselines, *(OPTIONS if case.options else ())):
        reason = baseline.unsupported(case)
        if reason is None:
            call = baseline.prepare(inputs)
            errors[baseline.name] = None
            if call.result is not None:
                rotated = call.result()
                errors[baseline.name] = error_against(rotated, truth)
                if not is_same_rotation(rotated, truth):
                    reason = f"wrong answer, off by {errors[baseline.name]:.1e}"
            calls[baseline.name] = call
        if reason is not None:
            calls.pop(baseline.name, None)
            left_out[f"{baseline.name}: {reason}"] = [_name(case)]
    return calls, errors, left_out


def _rows(
    case: Case,
    cache: str,
    calls: dict[str, Call],
    errors: dict[str, float | None],
    times: dict[str, Timing],
    device: torch.device,
) -> list[Row]:
    eager = times[EAGER].p50 if EAGER in times else None
    fused = min((times[name].p50 for name in COMPILED if name in times), default=None)
    others = {name: t.p50 for name, t in times.items() if name not in _NOT_OTHERS}
    best = min(others, key=lambda name: others[name], default=None)
    copy_bounds = {name for name in times if name in _COPY_BOUND_NAMES}
    device_name = name_of(device)

    def over(other: float | None, mine: float) -> float | None:
        return None if other is None else other / mine

    rows = []
    for name, t in times.items():
        p20, p80 = t.spread
        floor = copy_bound_of(calls[name].writes, copy_bounds)
        x_copy, x_copy_p20, x_copy_p80 = t.over(times[floor])
        rows.append(
            Row(
                case=case.name,
                model=case.model,
                dtype=case.dtype,
                layout=case.layout,
                tokens=case.tokens,
                context=case.context,
                cache=cache,
                device=device_name,
                malloc=malloc_setting(),
                entry=name,
                bytes=case.bytes,
                p50=t.p50,
                p20=p20,
                p80=p80,
                samples=len(t.samples),
                host_bound=t.host_bound,
                gb_per_s=case.bytes / t.p50 / 1e3,
                floor=floor,
                x_copy=x_copy,
                x_copy_p20=x_copy_p20,
                x_copy_p80=x_copy_p80,
                speedup_eager=over(eager, t.p50),
                speedup_compile=over(fused, t.p50),
                speedup_best=over(others[best] if best else None, t.p50),
                best=best,
                error=errors[name],
            )
        )
    return rows


def call_cost(
    baseline: Baseline, case: Case, *, device: torch.device, seconds: float
) -> CallCost | None:
    """Measure the costs that do not depend on the shape, on one head of a case's model.

    Args:
        baseline: The contender.
        case: The case whose head_dim, rotary_dim and dtype are taken.
        device: Device of the tensors.
        seconds: Time to spend on the host's overhead.

    Returns:
        The costs; None if the contender rotates nothing or cannot serve one head.
    """
    one = replace(case, nheads=1, nheads_k=1, seqlen=1, batch=1, layout="contiguous")
    if baseline.unsupported(one) is not None:
        return None
    call = baseline.prepare(make_inputs(one, device))
    if call.result is None:
        return None
    return CallCost(
        entry=baseline.name,
        dtype=case.dtype,
        host_us=host_overhead(call.run, seconds=seconds),
        table_bytes={n: baseline.table_bytes(case, n) for n in CONTEXTS},
        error=_errors(baseline, one, device),
    )


def _errors(baseline: Baseline, one: Case, device: torch.device) -> dict[int, float]:
    """Return errors of cos and sin up to each of POSITIONS, from rotations of the pair (1, 0)."""
    windows = torch.tensor(POSITIONS)[:, None] - torch.arange(_WINDOW)
    case = replace(one, seqlen=windows.numel())
    inputs = make_inputs(case, device, positions=windows.view(1, -1))
    for x in (inputs.q, inputs.k):
        x[..., : case.rotary_dim // 2] = 1
        x[..., case.rotary_dim // 2 :] = 0
    call = baseline.prepare(inputs)
    assert call.result is not None
    got, truth = (
        [torch.split(x, _WINDOW, dim=1) for x in pair if x is not None]
        for pair in (call.result(), float64_reference(inputs))
    )
    return {
        position: error_against((got[0][n], got[1][n]), (truth[0][n], truth[1][n]))
        for n, position in enumerate(POSITIONS)
    }
