"""A Triton driver that compiles for a device and launches nothing.

stub_launch.py shapes|one|time
"""

from __future__ import annotations

import json
import random
import sys
import time
from contextlib import contextmanager
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

import ropescale_kernels as rk
from ropescale_kernels import backends
from ropescale_kernels.backends import triton as kernels
from ropescale_kernels.backends.triton import compile as compiling
from ropescale_kernels.backends.triton import launch as launching
from ropescale_kernels.backends.triton import rotary_qk
from ropescale_kernels.ops import check

launches: list[dict[str, Any]] = []
switched: list[int] = []


class Devices:
    """Stand-in for torch.cuda."""

    current: int | None = None

    def current_device(self) -> int | None:
        return self.current

    @contextmanager
    def device(self, index: int | None) -> Any:
        before, self.current = self.current, index
        switched.append(self.current or 0)
        yield
        self.current = before
        switched.append(self.current or 0)


class Utils:
    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> Any:
        return "module", "function", 100, 0, 1024

    def unload_module(self, module: Any) -> None:
        return None

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448}


class Launcher:
    """Stand-in for the launcher of Triton, which records the arguments of a launch."""

    keep = True

    def __init__(self, source: Any, metadata: Any) -> None:
        self.names = source.fn.arg_names

    def __call__(self, x: int, y: int, z: int, stream: int, *rest: Any) -> None:
        if self.keep:
            named = dict(zip(self.names, rest[5:], strict=True))
            launches.append({"grid": [x, y, z], "stream": stream, "named": named})


class Driver:
    utils = Utils()
    launcher_cls = Launcher
    devices = Devices()

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_device_interface(self) -> Devices:
        return self.devices

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 77


compilations = []


def install() -> None:
    triton.runtime.driver.set_active(Driver())
    triton.knobs.compilation.listener = lambda **seen: compilations.append(seen["src"])
    kernels.unavailable = lambda: None
    kernels.unsupported = lambda spec: None
    # As an H200 has it.
    launching._programs_wanted = lambda device: 16 * 132


def spec_of(
    table: rk.RotaryTable, shape: tuple[int, ...], nheads_k: int, dtype: torch.dtype, **options: Any
) -> Any:
    offset, cut = options.pop("offset", 0), options.pop("cut", 0)
    positions = options.pop("positions", torch.arange(shape[-3]))

    def heads(nheads: int) -> torch.Tensor:
        size = [*shape[:-2], nheads, shape[-1] + cut]
        flat = torch.empty(torch.Size(size).numel() + offset, dtype=dtype)
        return flat[offset:].view(size)[..., : shape[-1]]

    spec = check.check_rotary_qk(
        heads(shape[-2]),
        heads(nheads_k) if nheads_k else None,
        positions,
        table,
        options.pop("profile_ids", None),
        interleaved=False,
        conjugate=False,
        phase="exact",
    )
    spec.q_out = torch.empty_like(spec.q)
    spec.k_out = None if spec.k is None else torch.empty_like(spec.k)
    return spec


def shapes() -> Any:
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
    count = rk.warmup(table, dtype=torch.bfloat16, impl="triton")
    in_warmup = len(compilations)
    pick = random.Random(0)
    seen = set()
    for _ in range(200):
        batch, seqlen = pick.choice([1, 2, 5]), pick.choice([1, 2, 3, 17, 100, 1000])
        packed = pick.random() < 0.3
        shape = (
            (batch * seqlen, pick.randint(1, 40), 64)
            if packed
            else (batch, seqlen, pick.randint(1, 40), 64)
        )
        tokens = shape[:-2]
        profile_ids = torch.zeros(tokens, dtype=torch.int32) if pick.random() < 0.3 else None
        index = pick.choice([torch.int32, torch.int64])
        spec = spec_of(
            table,
            shape,
            pick.randint(0, 8),
            torch.bfloat16,
            offset=pick.choice([0, 0, 8, 3]),
            cut=pick.choice([0, 0, 8, 5]),
            positions=torch.zeros(tokens[-1:], dtype=index),
            profile_ids=profile_ids,
        )
        rotary_qk.launch_rotary_qk(spec)
        named = launches[-1]["named"]
        seen.add((named["ALIGNED"], named["profile_ptr"] is None, index))
    after = len(compilations) - in_warmup
    other = spec_of(table, (3, 2, 128), 1, torch.bfloat16)
    rotary_qk.launch_rotary_qk(other)
    return {
        "variants": count,
        "compiled in warmup": in_warmup,
        "launches": len(launches) - 1,
        "variants seen": len(seen),
        "compiled after": after,
        "compiled for another model": len(compilations) - in_warmup - after,
    }


def one() -> Any:
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=1e4))
    spec = spec_of(table, (9, 4, 64), 1, torch.bfloat16)
    rotary_qk.launch_rotary_qk(spec)
    launches.clear()
    switched.clear()
    # As if the tensors were on another device than the current one.
    LAST[0]._device = 3
    rotary_qk.launch_rotary_qk(spec)
    for launch in launches:
        launch["device switched to"] = list(switched)
        launch["named"] = {k: v for k, v in launch["named"].items() if isinstance(v, int)}
    return launches


LAST: list[Any] = []


def remember() -> None:
    compiled = compiling.compiled

    def remembering(variant: Any) -> Any:
        LAST[:] = [compiled(variant)]
        return LAST[0]

    launching.compiled = remembering


def timed() -> Any:
    """Return the microseconds of a launch from a checked call, and from a public call."""
    Launcher.keep = False
    table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=128, rope_theta=1e4))
    spec = spec_of(table, (1, 1, 32, 128), 8, torch.bfloat16)

    def best(call: Any, repeats: int = 2000) -> float:
        found = []
        for _ in range(15):
            begin = time.perf_counter()
            for _ in range(repeats):
                call()
            found.append((time.perf_counter() - begin) / repeats)
        return 1e6 * sorted(found)[len(found) // 2]

    rotary_qk.launch_rotary_qk(spec)
    at = torch.arange(1)
    q, k = spec.q, spec.k

    def in_place() -> None:
        rk.apply_rotary_qk_(q, k, at, table, impl="triton")

    return {
        "launch_us": best(lambda: rotary_qk.launch_rotary_qk(spec)),
        "in_place_us": best(in_place),
        "allocating_us": best(lambda: rk.apply_rotary_qk(q, k, at, table, impl="triton")),
        "two_empty_like_us": best(lambda: (torch.empty_like(q), torch.empty_like(k))),
    }


if __name__ == "__main__":
    assert backends is not None
    install()
    if sys.argv[1] == "one":
        remember()
    print(json.dumps({"shapes": shapes, "one": one, "time": timed}[sys.argv[1]]()))
