"""Checking and timing: a case becomes rows, a way of rotating becomes facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from .baselines import (
    COMPILED,
    EAGER,
    FLOOR,
    FLOOR_ON_DEVICE,
    ON_DEVICE,
    OPTIONS,
    OURS,
    PEERS,
    Baseline,
    Call,
    error_against,
    floor_of,
    is_rotated,
    truth_of,
)
from .cases import Case, Inputs, make_inputs
from .clocks import Clock, graph_of
from .machine import malloc_setting, name_of
from .report import Fact, LeftOut, Row
from .timing import Timing, host_overhead, interleave

# Up to here a serving engine replays its step as a CUDA graph.
_MOST_TOKENS_OF_A_GRAPH = 64
# So many calls on as many buffers share the launch of one graph, as the layers of a model do.
_CALLS_IN_A_GRAPH = 24
POSITIONS = (1000, 32767, 131071, 1048575, 9999991)
# So many positions up to each are looked at.
_WINDOW = 16
CONTEXTS = (32768, 131072, 1048576, 10485760)
_FLOORS = {baseline.name for baseline in FLOOR_ON_DEVICE}
_NOT_OTHERS = _FLOORS | {baseline.name for baseline in (*OURS, *ON_DEVICE, *OPTIONS)}


def chosen(peers: Iterable[str], device: torch.device) -> tuple[list[Baseline], LeftOut]:
    """Give what can run on a device, and say of the rest why not.

    Args:
        peers: Keys of PEERS.
        device: Where the tensors are.

    Returns:
        The floor, ours and the peers that can run; and the others with their reasons.
    """
    on_device = device.type == "cuda"
    found: list[Baseline] = [*(FLOOR_ON_DEVICE if on_device else FLOOR), *OURS]
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
    """Check every answer on a case, then time the right ones against one another.

    Args:
        case: The shape.
        baselines: From `chosen`; where the case asks for options, ours are added.
        device: Where to.
        clock: Of that device.
        seconds: Rough time to spend, shared by hot caches, flushed ones (where the clock resolves a
            single call) and, for few tokens on a GPU, the replay of a CUDA graph.

    Returns:
        Rows, and what was left out with its reason.
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
        if all(name in graphs for name in calls if name in _FLOORS):
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
    """Whether the clock resolves a single call after a flush, judged by the quickest floor."""
    if not clock.resolution:
        return True
    floors = {name: run for name, run in runs.items() if name in _FLOORS}
    times = interleave(floors, seconds=0, clock=clock, cache="flushed")
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
    truth = truth_of(inputs)
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
                if not is_rotated(rotated, truth):
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
    floors = {name for name in times if name in _FLOORS}
    device_name = name_of(device)

    def over(other: float | None, mine: float) -> float | None:
        return None if other is None else other / mine

    rows = []
    for name, t in times.items():
        p20, p80 = t.spread
        floor = floor_of(calls[name].writes, floors)
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


def facts(baseline: Baseline, case: Case, *, device: torch.device, seconds: float) -> Fact | None:
    """Measure what does not depend on the shape, on one head of a case's model.

    Args:
        baseline: What to measure.
        case: Gives head_dim, rotary_dim and dtype.
        device: Where to.
        seconds: Time to spend on the host's overhead.

    Returns:
        The facts, or None for what does not rotate or cannot serve one head.
    """
    one = replace(case, nheads=1, nheads_k=1, seqlen=1, batch=1, layout="contiguous")
    if baseline.unsupported(one) is not None:
        return None
    call = baseline.prepare(make_inputs(one, device))
    if call.result is None:
        return None
    return Fact(
        entry=baseline.name,
        dtype=case.dtype,
        host_us=host_overhead(call.run, seconds=seconds),
        table_bytes={n: baseline.table_bytes(case, n) for n in CONTEXTS},
        error=_errors(baseline, one, device),
    )


def _errors(baseline: Baseline, one: Case, device: torch.device) -> dict[int, float]:
    """Rotate (1, 0) at the positions up to each of POSITIONS: that gives cos and sin themselves."""
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
        for pair in (call.result(), truth_of(inputs))
    )
    return {
        position: error_against((got[0][n], got[1][n]), (truth[0][n], truth[1][n]))
        for n, position in enumerate(POSITIONS)
    }
