"""Accuracy on this machine: each implementation against exact arithmetic, by position."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from .. import bounds, reference
from ..ops import apply_rotary_qk
from ..ops.implementations import available_impls
from ..scaling import RopeScaling
from ..table import RotaryTable

POSITIONS = (1000, 32767, 131071, 1048575, 9999991, 2**31 - 1, 2**34 - 1, -131071)
_COMPILED = ("cuda", "triton", "cpu")


@dataclass(frozen=True)
class Check:
    """One implementation at one position in one phase.

    Attributes:
        isa: Instruction set of the cpu implementation; None for any other implementation.
        error: Largest absolute error of cos and sin, against exact arithmetic on the float32
            inv_freq (phase "exact") or on the float32 angle (phase "float32").
        bound: Bound of `error` in the table of bounds.
        drift: Largest absolute error against exact arithmetic on the float32 inv_freq, in either
            phase.
        equal_bits: Whether the bits are those of the definition; None if equal bits are not
            promised.
    """

    impl: str
    phase: str
    position: int
    error: float
    bound: float
    drift: float
    equal_bits: bool | None
    isa: str | None = None

    @property
    def passed(self) -> bool:
        """Return whether the error is within the bound and the bits are as promised."""
        return self.error <= self.bound and self.equal_bits is not False


def verify(
    positions: tuple[int, ...] = POSITIONS, progress: Callable[[], object] = lambda: None
) -> list[Check]:
    """Check cos and sin of every implementation that can run here.

    The rotation of q = (1, 0) is (cos, sin), because magnitude "none" makes the attention factor 1.

    Args:
        positions: Positions, |position| <= 2^34.
        progress: Called after each position.

    Returns:
        A check for each implementation, phase and position.
    """
    scaling = RopeScaling.yarn(
        rotary_dim=128, rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768
    )
    table = RotaryTable(scaling, device="cpu", magnitude="none")
    q = torch.tensor([1.0] * 64 + [0.0] * 64, device="cpu").view(1, 1, 128)
    checks = []
    for position in positions:
        at = torch.tensor([position], device="cpu")
        exact = reference.apply_rotary_qk(q, None, at, table)[0]
        for phase in ("exact", "float32"):
            truth = reference.apply_rotary_qk(q, None, at, table, phase=phase)[0]
            bits = apply_rotary_qk(q, None, at, table, phase=phase, impl="reference")[0]
            for impl, reason in available_impls().items():
                if reason is not None or impl == "reference":
                    continue
                for isa in _each_isa() if impl == "cpu" else (None,):
                    got = apply_rotary_qk(q, None, at, table, phase=phase, impl=impl)[0]
                    checks.append(
                        Check(
                            impl=impl,
                            phase=phase,
                            position=position,
                            error=float((got - truth).abs().max()),
                            bound=bounds.SINCOS_ABS,
                            drift=float((got - exact).abs().max()),
                            equal_bits=torch.equal(got, bits) if impl in _COMPILED else None,
                            isa=isa,
                        )
                    )
        progress()
    return checks


def _each_isa() -> Iterator[str]:
    """Yield each instruction set of this processor and build while it is in force."""
    extension = importlib.import_module("ropescale_kernels._C")
    before = extension.cpu_isa()
    try:
        for isa in extension.build_info()["cpu_isas"]:
            if extension.use_cpu_isa(isa) == isa:
                yield isa
    finally:
        extension.use_cpu_isa(before)
