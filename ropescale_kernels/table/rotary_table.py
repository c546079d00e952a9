"""RotaryTable: frequencies and magnitudes of one or several scalings, without positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling, is_dynamo_compiling

from ..errors import RopeScaleTypeError, RopeScaleValueError, check_flag, expected
from ..scaling import RopeScaling
from ..scaling import validate as check
from . import pytree
from .fx import get_attr_node
from .given_frequencies import check_factor, check_inv_freq, check_range, turns_of_float64
from .leaves import leaf_of
from .mrope import axis_ids_of, refuse_without_section
from .state import TableState, TableTensors
from .turns import turns_from_float32

_MAGNITUDES = ("both", "query", "none")


class RotaryTable(TableState):
    """Frequencies and magnitudes of one or several scalings, on one device.

    Each scaling is a profile; `profile_ids` of the operators chooses one per token. A pair's
    frequency is held as a 64-bit fraction of a turn per token, so the table is
    `num_profiles * rotary_dim / 2` entries whatever the context length. All state is integer
    (floats travel as their bits), so no cast of a module can round it.

    A dynamic table follows lengths: `update_(seq_lens)` sets each profile's factor on the device,
    with no synchronisation, and the kernels blend the frequencies from it as they run.

    Args:
        scaling: One scaling, or a sequence of scalings of one rotary_dim.
        device: Where the table lives; default torch's default device.
        dynamic: Whether `update_` may be called. Until it is, each profile is as its scaling says.
        magnitude: "both" multiplies q and k by the attention factor; "query" multiplies q by its
            square and leaves k (equal logits over rotated channels, cached keys unscaled); "none"
            scales neither (re-rotating keys that are scaled already).

    Raises:
        RopeScaleTypeError: `scaling` is neither a RopeScaling nor a sequence of them.
        RopeScaleValueError: An empty sequence, differing rotary_dim or sections, or an unknown
            magnitude.

    Example:
        >>> import ropescale_kernels as rk
        >>> table = rk.RotaryTable(rk.RopeScaling.default(rotary_dim=64, rope_theta=10000.0))
        >>> table.turns_per_token.shape
        torch.Size([1, 32, 2])
    """

    def __init__(
        self,
        scaling: RopeScaling | Sequence[RopeScaling],
        device: torch.device | str | None = None,
        dynamic: bool = False,
        magnitude: str = "both",
    ) -> None:
        if is_dynamo_compiling():
            check.outside_graphs("RotaryTable")
        check_flag("dynamic", dynamic)
        scalings = _as_scalings(scaling)
        first = scalings[0]
        self.scalings: tuple[RopeScaling, ...] = scalings
        self.dynamic = dynamic
        self.magnitude = _check_magnitude(magnitude)
        for i, one in enumerate(scalings):
            check_range(f"scaling[{i}].attention_factor", one.attention_factor, magnitude)
        # Built on the CPU and outside inference mode, even if a context sets other defaults.
        with torch.device("cpu"), torch.inference_mode(False):
            self._groups = self._grouped()
            inv_freq = torch.stack([s.inv_freq for s in scalings])
            attention = torch.tensor([s.attention_factor for s in scalings], dtype=torch.float64)
            sections = first.mrope_section
            blend = (_initial_blend(scalings) if dynamic else None) or (None, None, None)
            tensors = TableTensors(
                turns_per_token=turns_from_float32(inv_freq),
                inv_freq_bits=inv_freq.view(torch.int32),
                attention_factor_bits=self._attention_factors(attention).view(torch.int32),
                axis_ids=axis_ids_of(sections, first.mrope_interleaved, inv_freq.shape[-1]),
                pos_freqs=blend[0],
                ramp=blend[1],
                factors=blend[2],
            )
        super().__init__(tensors, 0 if sections is None else len(sections))
        self._move(torch.get_default_device() if device is None else _as_device(device))

    @classmethod
    def from_inv_freq(
        cls,
        inv_freq: Tensor,
        attention_factor: float | Tensor = 1.0,
        device: torch.device | str | None = None,
        magnitude: str = "both",
        mrope_section: Sequence[int] | None = None,
        mrope_interleaved: bool = False,
    ) -> RotaryTable:
        """Build a static table of one profile from frequencies you already hold.

        If `inv_freq` or `attention_factor` requires grad, gradients of the operators flow to it.
        The table is a snapshot: build it anew after an optimiser's step. In a graph of
        torch.compile or torch.export, where no value can be read, a frequency that is not finite,
        and a factor that is not above zero, give NaN in the rotated channels.

        Args:
            inv_freq: `(rotary_dim // 2,)`, radians per token, float32 or float64. A float64 value
                gives a step from its own bits; `phase="float32"` rounds it to float32 first. A
                value of 2 pi or more wraps; negative and zero values are valid.
            attention_factor: Multiplies cos and sin; positive. A float, or a floating tensor of one
                element.
            device: Where the table lives; default the device of `inv_freq`.
            magnitude: As in the constructor.
            mrope_section: Pairs per position axis, summing to rotary_dim // 2.
            mrope_interleaved: Whether the axes take turns over the pairs (Qwen3-VL) instead of
                taking consecutive runs (Qwen2-VL).

        Returns:
            The table.

        Raises:
            RopeScaleTypeError: `inv_freq` is no floating tensor of a supported dtype, or
                `attention_factor` is no float.
            RopeScaleValueError: A wrong shape, a non-finite value, or a factor not above zero.
            RopeScaleUnsupportedError: A float64 `inv_freq` in a graph. Under forward-mode AD, an
                `inv_freq` or `attention_factor` that has a tangent or requires grad.
        """
        check_inv_freq(inv_freq)
        check_flag("mrope_interleaved", mrope_interleaved)
        refuse_without_section(mrope_section, mrope_interleaved)
        magnitude = _check_magnitude(magnitude)
        factor = check_factor(attention_factor, magnitude)
        target = inv_freq.device if device is None else _as_device(device)
        table = cls.__new__(cls)
        table.scalings = ()
        table.dynamic = False
        table.magnitude = magnitude
        table._groups = []
        single = inv_freq.to(device=target, dtype=torch.float32).unsqueeze(0)
        factor = factor.to(target, torch.float64).reshape(1)
        factors = table._attention_factors(factor)
        if is_compiling():
            is_valid = single.isfinite().all() & (factors.isfinite() & (factors > 0)).all()
            factors = torch.where(is_valid, factors, torch.nan)
        # Gradients flow to these floats; the kernels read the bits of detached copies.
        table.sources = leaf_of("inv_freq", single), leaf_of("attention_factor", factors)
        single, factors = single.detach().contiguous(), factors.detach()
        is_float64 = inv_freq.dtype == torch.float64
        axis_ids = axis_ids_of(mrope_section, mrope_interleaved, single.shape[-1])
        tensors = TableTensors(
            turns_per_token=(
                turns_of_float64(inv_freq).to(target) if is_float64 else turns_from_float32(single)
            ),
            inv_freq_bits=single.view(torch.int32),
            attention_factor_bits=factors.view(torch.int32),
            axis_ids=None if axis_ids is None else axis_ids.to(target),
        )
        num_axes = 0 if mrope_section is None else len(mrope_section)
        TableState.__init__(table, tensors, num_axes, "float64" if is_float64 else "float32")
        return table

    def _grouped(self, indices: Sequence[Any] = ()) -> list[tuple[RopeScaling, Tensor | None]]:
        """Return the groups of profiles that `update_` sets together; None stands for all profiles.

        `indices` are the tensors of an earlier call, in the same order.
        """
        groups = _groups_of(self.scalings) if self.dynamic else []
        if not indices:
            every = len(self.scalings)
            indices = [
                None if len(rows) == every else torch.tensor(rows, device="cpu")
                for _, rows in groups
            ]
        return [(scaling, index) for (scaling, _), index in zip(groups, indices, strict=True)]

    def _attention_factors(self, attention_factor: Tensor) -> Tensor:
        """Return the float32 multipliers of q and k, `(n, 2)`, from float64 `(n,)`."""
        one = torch.ones_like(attention_factor)
        q, k = {
            "both": (attention_factor, attention_factor),
            "query": (attention_factor * attention_factor, one),
            "none": (one, one),
        }[self.magnitude]
        return torch.stack([q, k], dim=-1).to(torch.float32)

    def _move(self, device: torch.device) -> None:
        with torch.inference_mode(False):
            self._take(TableTensors(*(None if x is None else x.to(device) for x in self.state)))  # type: ignore[arg-type]
            self.sources = tuple(None if x is None else x.to(device) for x in self.sources)  # type: ignore[assignment]
            self._groups = [(s, None if i is None else i.to(device)) for s, i in self._groups]

    def to(self, device: torch.device | str) -> RotaryTable:
        """Return a table on `device`: this table if it is there already, else a copy.

        A table of scalings on the meta device is built anew, because it has no values to copy.
        """
        target = _as_device(device)
        if target == self.device:
            return self
        if self.device.type == "meta":
            return self._with_values(target)
        copy = RotaryTable.__new__(RotaryTable)
        copy.__dict__.update(self.__dict__)
        copy._move(target)
        return copy

    def _with_values(self, device: torch.device) -> RotaryTable:
        """Return the table that this table without values describes."""
        if not self.scalings:
            hint = "Build it again with RotaryTable.from_inv_freq."
            raise RopeScaleValueError(
                expected("table", "values, or scalings to make them of", "meta tensors", hint)
            )
        return RotaryTable(self.scalings, device, self.dynamic, self.magnitude)

    def update_(self, seq_lens: Tensor) -> None:
        """Set each profile's scaling for the length of its sequence, on the device.

        Afterwards the table equals, bit for bit, a static table of the scalings at those lengths
        (`scaling.at_seq_len(n)`). Nothing is read back to the host and no tensor is replaced, so
        the call may be captured in a CUDA graph or made between its replays.

        Args:
            seq_lens: int32 or int64 `(num_profiles,)` on the table's device, in tokens.

        Raises:
            RopeScaleTypeError: A wrong kind or dtype.
            RopeScaleValueError: The table is static, or the shape or the device differ.
        """
        self._check_seq_lens(seq_lens)
        for scaling, index in self._groups:
            lengths = seq_lens if index is None else seq_lens.index_select(0, index)
            attention_factors = self._attention_factors(scaling.attention_factor_at(lengths))
            _write(self.attention_factor_bits, index, attention_factors.view(torch.int32))
            if scaling.is_blend:
                factors = self.tensors.factors
                assert factors is not None
                factor = scaling.factor_at(lengths).to(torch.float32)
                _write(factors, index, factor.view(torch.int32))
            else:
                inv_freq = scaling.inv_freq_at(lengths)
                _write(self.turns_per_token, index, turns_from_float32(inv_freq))
                _write(self.inv_freq_bits, index, inv_freq.view(torch.int32))

    def _check_seq_lens(self, seq_lens: Tensor) -> None:
        if not self.dynamic:
            raise RopeScaleValueError(
                expected("table", "a dynamic table", "a static one", "Build it with dynamic=True.")
            )
        if not isinstance(seq_lens, Tensor):
            raise RopeScaleTypeError(expected("seq_lens", "a tensor", type(seq_lens).__name__))
        if seq_lens.dtype not in (torch.int32, torch.int64):
            raise RopeScaleTypeError(expected("seq_lens", "int32 or int64", str(seq_lens.dtype)))
        if tuple(seq_lens.shape) != (self.num_profiles,):
            got = f"shape {tuple(seq_lens.shape)}"
            raise RopeScaleValueError(expected("seq_lens", f"shape ({self.num_profiles},)", got))
        if seq_lens.device != self.device:
            raise RopeScaleValueError(
                expected("seq_lens", f"device {self.device}", str(seq_lens.device))
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return pytree.rebuild, pytree.reduced(self)

    def __fx_create_arg__(self, tracer: Any) -> Any:
        """Return the node by which a graph of torch.fx reads this table from the traced module."""
        return get_attr_node(tracer, self)

    def __repr__(self) -> str:
        kinds = ", ".join(s.rope_type for s in self.scalings) or "from inv_freq"
        return (
            f"RotaryTable({kinds}, rotary_dim={self.rotary_dim}, profiles={self.num_profiles}, "
            f"dynamic={self.dynamic}, magnitude={self.magnitude!r}, device={self.device})"
        )


pytree.register(RotaryTable)


def _as_scalings(scaling: object) -> tuple[RopeScaling, ...]:
    if isinstance(scaling, RopeScaling):
        return (scaling,)
    if not isinstance(scaling, Sequence) or isinstance(scaling, str):
        kind = type(scaling).__name__
        raise RopeScaleTypeError(expected("scaling", "a RopeScaling or a sequence of them", kind))
    for i, other in enumerate(scaling):
        if not isinstance(other, RopeScaling):
            kind = type(other).__name__
            raise RopeScaleTypeError(expected(f"scaling[{i}]", "a RopeScaling", kind))
    if not scaling:
        raise RopeScaleValueError(expected("scaling", "at least one RopeScaling", "none"))
    first = scaling[0]
    for i, other in enumerate(scaling):
        for name in ("rotary_dim", "mrope_section", "mrope_interleaved"):
            want, got = getattr(first, name), getattr(other, name)
            if want != got:
                raise RopeScaleValueError(
                    expected(f"scaling[{i}].{name}", f"{want!r} as in scaling[0]", got)
                )
    return tuple(scaling)


def _as_device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        kind = RopeScaleTypeError if isinstance(error, TypeError) else RopeScaleValueError
        got = check.shown(device)
        raise kind(expected("device", "a device such as 'cpu' or 'cuda:0'", got)) from error


def _initial_blend(scalings: Sequence[RopeScaling]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the bits of pos_freqs, ramp and factor; the factor of a profile without blend is 0."""
    if not any(s.is_blend for s in scalings):
        return None
    one = torch.ones(scalings[0].rotary_dim // 2, device="cpu")
    pos_freqs = torch.stack([s.pos_freqs if s.is_blend else one for s in scalings])
    ramp = torch.stack([s.ramp if s.is_blend else one for s in scalings])
    factors = [s.factor if s.is_blend else 0.0 for s in scalings]
    factor = torch.tensor(factors, dtype=torch.float32, device="cpu")
    return pos_freqs.view(torch.int32), ramp.view(torch.int32), factor.view(torch.int32)


def _groups_of(scalings: Sequence[RopeScaling]) -> list[tuple[RopeScaling, list[int]]]:
    """Return the profiles that follow lengths, grouped by equal scaling."""
    members: dict[str, list[int]] = {}
    for i, scaling in enumerate(scalings):
        if scaling.depends_on_seq_len:
            members.setdefault(scaling.fingerprint(), []).append(i)
    return [(scalings[rows[0]], rows) for rows in members.values()]


def _write(target: Tensor, index: Tensor | None, value: Tensor) -> None:
    if index is None:
        target.copy_(value)
    else:
        target.index_copy_(0, index, value)


def _check_magnitude(magnitude: Any) -> str:
    if magnitude not in _MAGNITUDES:
        choices = ", ".join(repr(m) for m in _MAGNITUDES)
        raise RopeScaleValueError(expected("magnitude", f"one of {choices}", magnitude))
    return str(magnitude)
