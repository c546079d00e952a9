"""The parameters of a scaling, as plain Python values, and their fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json

# Another format is due if the same parameters come to mean other frequencies.
_FORMAT = "ropescale-scaling-1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
    """Checked parameters of one scaling. A key that the rule does not use stays None.

    Attributes:
        rope_type: Name of the rule.
        rotary_dim: Rotated channels, even.
        frequency_dim: D in the exponent of the frequencies: rotary_dim, or one less if a config
            asks for an odd share of the head.
        rope_theta: Base of the frequencies.
        factor: Context extension factor in force.
        softmax_mscale: Whether the model multiplies its softmax scale by mscale squared.
        dialect: Dialect that the config was read in.

    The other attributes are the config keys of the same names.
    """

    rope_type: str
    rotary_dim: int
    frequency_dim: int
    rope_theta: float
    factor: float = 1.0
    original_max_position_embeddings: int | None = None
    max_position_embeddings: int | None = None
    seq_len: int | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    truncate: bool | None = None
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    softmax_mscale: bool = False
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None
    partial_rotary_factor: float | None = None
    mrope_section: tuple[int, ...] | None = None
    mrope_interleaved: bool = False
    dialect: str = "hf"

    def length(self) -> int:
        """Return L, the length of pretraining in tokens, of a rule that has one."""
        assert self.original_max_position_embeddings is not None
        return self.original_max_position_embeddings

    def fingerprint(self) -> str:
        """Return the SHA-256 of the parameters, in hexadecimal.

        Floats enter by their bits. No derived value enters, so the result is the same in every
        process and on every machine.
        """
        values = {key: _canonical(value) for key, value in dataclasses.asdict(self).items()}
        text = json.dumps([_FORMAT, values], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: object) -> object:
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    return value
