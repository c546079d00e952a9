"""Dynamic NTK (arXiv:2309.00071, app. B.1): the base grows with the length of the sequence."""

from __future__ import annotations

import dataclasses

import torch
from typing_extensions import Unpack

from ...errors import expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies
from .ntk import stretched
from .rule import ConfigRule, SharedKeys, optional_length


class DynamicNtk(ConfigRule):
    """The base becomes `theta * (factor * n / n0 - (factor - 1)) ** (D / (D - 2))` beyond n0."""

    rope_type = "dynamic"
    depends_on_seq_len = True
    smallest_dim = 4
    own_keys = frozenset({"factor"})
    no_extension = (
        "Transformers lets its base follow the length, without any edit of the config; "
        "vLLM and SGLang fix it when they start."
    )

    def parameters(
        self,
        *,
        factor: object,
        max_position_embeddings: object,
        seq_len: object = None,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        return dataclasses.replace(
            self.shared(**shared),
            factor=check.scale_factor(factor),
            max_position_embeddings=check.length(
                "max_position_embeddings", max_position_embeddings
            ),
            seq_len=optional_length("seq_len", seq_len, low=0),
        )

    def frequencies(self, p: Parameters) -> Frequencies:
        length = _length(p)
        seq_len = length if p.seq_len is None else p.seq_len
        return stretched(p, dynamic_stretch(p.factor, seq_len, length))

    def inv_freq_at(
        self, p: Parameters, constants: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
    ) -> torch.Tensor:
        length, dim = _length(p), p.frequency_dim
        lengths = seq_lens.to(torch.float64).clamp(min=length)
        stretch = (p.factor * lengths / length) - (p.factor - 1)
        theta = (p.rope_theta * stretch ** (dim / (dim - 2))).to(torch.float32)
        exponent = torch.arange(0, dim, 2, dtype=torch.float32, device=seq_lens.device) / dim
        return 1.0 / torch.pow(theta[:, None], exponent)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        kind = entry.dialect.dynamic
        alpha = ("alpha",) if kind != "length" or entry.model.ntk_alpha else ()
        trained = ("max_trained_positions",) if kind == "fixed_by_trained_positions" else ()
        return frozenset({"factor", *alpha, *trained})

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        kind = entry.dialect.dynamic
        alpha = entry.parameters.get("alpha") if "alpha" in self.keys(entry) else None
        if alpha is not None:
            return "ntk", {"factor": check.scale_factor(alpha, "alpha")}
        if kind == "length":
            return self.rope_type, {
                "factor": entry.parameter("factor"),
                "max_position_embeddings": entry.require("max_position_embeddings"),
                "seq_len": seq_len,
            }
        factor = check.scale_factor(entry.parameter("factor"))
        maximum = entry.maximum_length()
        if kind == "fixed_by_trained_positions":
            name = "max_trained_positions"
            trained = check.length(name, entry.parameters.get(name, maximum))
            stretch = dynamic_stretch(factor, maximum, trained)
            if stretch == 1 and factor != 1:
                hint = "Nothing is scaled at any length."
                requirement = (
                    f"max_trained_positions below max_position_embeddings={maximum} beside it"
                )
                entry.findings.note(expected("factor", requirement, f"{factor!r} alone", hint))
        else:
            stretch = dynamic_stretch(factor, factor * maximum, maximum)
        return "ntk", {"factor": stretch}

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, "factor")


def dynamic_stretch(factor: float, seq_len: float, length: int) -> float:
    """Return the growth of the longest wavelength, `factor * n / n0 - (factor - 1)`, 1 up to n0.

    Args:
        factor: Context extension factor.
        seq_len: n, tokens.
        length: n0, tokens: `max_position_embeddings` in dialect hf.

    Returns:
        The stretch for `ntk_theta`.
    """
    return (factor * max(seq_len, length) / length) - (factor - 1)


def _length(p: Parameters) -> int:
    assert p.max_position_embeddings is not None
    return p.max_position_embeddings
