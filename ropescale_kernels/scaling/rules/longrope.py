"""LongRoPE (arXiv:2402.13753): a factor for every pair, one list up to L tokens and one beyond."""

from __future__ import annotations

import dataclasses
import math

import torch
from typing_extensions import Unpack

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from .frequencies import Frequencies, pos_freqs, unscaled
from .rule import ConfigRule, SharedKeys, optional_length, optional_positive

_ORIGINAL = "original_max_position_embeddings"
_KEYS = ("factor", _ORIGINAL, "attention_factor", "short_factor", "long_factor")


class Longrope(ConfigRule):
    """Every pair divided by a factor of its own (arXiv:2402.13753, eq. 2)."""

    rope_type = "longrope"
    depends_on_seq_len = True
    own_keys = frozenset(_KEYS)
    takes_odd_share = False
    needs_head_dim = True
    no_extension = (
        "Its factors were searched for max_position_embeddings and serve no other length."
    )

    def parameters(
        self,
        *,
        short_factor: object,
        long_factor: object,
        original_max_position_embeddings: object,
        factor: object = None,
        max_position_embeddings: object = None,
        attention_factor: object = None,
        seq_len: object = None,
        **shared: Unpack[SharedKeys],
    ) -> Parameters:
        base = self.shared(**shared)
        half = base.rotary_dim // 2
        length = check.length(_ORIGINAL, original_max_position_embeddings, low=2)
        longest = optional_length("max_position_embeddings", max_position_embeddings)
        if factor is None and longest is not None:
            factor = longest / length
        if factor is None and attention_factor is None:
            requirement = "a number, or max_position_embeddings or attention_factor in its place"
            raise RopeScaleConfigError(expected("factor", requirement, None))
        return dataclasses.replace(
            base,
            factor=1.0 if factor is None else check.scale_factor(factor),
            original_max_position_embeddings=length,
            short_factor=check.channel_factors("short_factor", short_factor, half),
            long_factor=check.channel_factors("long_factor", long_factor, half),
            attention_factor=optional_positive("attention_factor", attention_factor),
            seq_len=optional_length("seq_len", seq_len, low=0),
        )

    def frequencies(self, p: Parameters) -> Frequencies:
        is_long = p.seq_len is not None and p.seq_len > p.length()
        channel_factors = p.long_factor if is_long else p.short_factor
        assert channel_factors is not None
        factors = torch.tensor(channel_factors, dtype=torch.float32, device="cpu")
        return unscaled(1.0 / (factors * pos_freqs(p.rope_theta, p.frequency_dim)))

    def attention_factor(self, p: Parameters) -> float:
        """Return sqrt(1 + ln(factor) / ln(L)), the same at every length (sec. 3)."""
        if p.attention_factor is not None:
            return p.attention_factor
        if p.factor <= 1.0:
            return 1.0
        return math.sqrt(1 + math.log(p.factor) / math.log(p.length()))

    def constants(self, p: Parameters, frequencies: Frequencies) -> tuple[torch.Tensor, ...]:
        lengths = (p.length(), p.length() + 1)
        short, long = (self.derive(dataclasses.replace(p, seq_len=n)) for n in lengths)
        return short.inv_freq, long.inv_freq

    def inv_freq_at(
        self, p: Parameters, constants: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
    ) -> torch.Tensor:
        short, long = constants
        return torch.where((seq_lens > p.length())[:, None], long, short)

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        reading = entry.dialect.longrope
        reads = {
            "short_factor": True,
            "long_factor": True,
            "factor": reading.factor == "explicit"
            or (reading.factor == "top_level" and entry.top_level(_ORIGINAL) is None),
            _ORIGINAL: reading.factor != "top_level",
            "attention_factor": reading.attention_factor,
            "short_mscale": reading.mscales or entry.model.longrope_mscales,
            "long_mscale": reading.mscales or entry.model.longrope_mscales,
        }
        return frozenset(key for key, read in reads.items() if read)

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        reading = entry.dialect.longrope
        channel_factors = {name: _named(entry, name) for name in ("short_factor", "long_factor")}
        factor = entry.parameters.get("factor")
        if reading.factor == "top_level":
            # L counts only beside the rope parameters. Its ratio then replaces the factor.
            length = entry.maximum_length()
            if (top := entry.top_level(_ORIGINAL)) is not None:
                factor, length = length / check.length(_ORIGINAL, top), check.length(_ORIGINAL, top)
        else:
            length = entry.original_length()
            if reading.factor == "ratio":
                factor = max(1.0, entry.maximum_length() / length)
            elif factor is not None:
                entry.compare_lengths(check.scale_factor(factor), length)
        if reading.long == "always" and factor is not None:
            seq_len = int(length * check.scale_factor(factor))
        attention_factor = (
            entry.parameters.get("attention_factor") if reading.attention_factor else None
        )
        if reading.mscales or entry.model.longrope_mscales:
            name = "long_mscale" if seq_len is not None and seq_len > length else "short_mscale"
            attention_factor = entry.parameters.get(name)
        return self.rope_type, {
            **channel_factors,
            "factor": factor,
            "attention_factor": attention_factor,
            _ORIGINAL: length,
            "max_position_embeddings": entry.top_level("max_position_embeddings"),
            "seq_len": seq_len,
        }

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, *_KEYS)


def _named(entry: RopeEntry, name: str) -> object:
    value = entry.parameters.get(name)
    if value is None:
        given = entry.parameters.get("rope_type") or entry.parameters.get("type")
        alias = entry.model.aliases.get(str(given)) is not None
        reads = f"A {entry.model_type} model reads {given!r} as {entry.rope_type!r}."
        hint = reads if alias else ""
        requirement = f"a list with a factor for each pair, for rope_type {entry.rope_type!r}"
        raise RopeScaleConfigError(expected(name, requirement, value, hint))
    return value
