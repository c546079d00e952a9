"""The base classes of the objects in `rules.RULES`: all that the package asks a rule."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, TypedDict

import torch

from ...errors import RopeScaleConfigError, expected
from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from ..validate import FLOAT32_MAX, FLOAT32_TINY
from .extension import Extension, LlamaCpp, LongerContext
from .frequencies import Frequencies


class _RequiredKeys(TypedDict):
    rotary_dim: object
    rope_theta: object


class SharedKeys(_RequiredKeys, total=False):
    """The keywords that the parameters of every rule have."""

    mrope_section: object
    mrope_interleaved: object


class Rule(ABC):
    """One scaling rule.

    The defaults are those of a rule that gives the same numbers at every length.

    Attributes:
        rope_type: Name of the rule in `Parameters`, in configs and in messages.
        is_blend: Whether the frequencies blend `1 / pos_freqs` and `1 / (factor * pos_freqs)`.
        depends_on_seq_len: Whether the rule gives other numbers at other lengths.
        smallest_dim: Smallest number of rotated channels that the formula is defined for.
        first_release: First major release of Transformers that reads `hf_keys`.
        title: The rule in a sentence of a plan, as in "YaRN with factor 4"; default `rope_type`.
        is_scaling: Whether the rule changes the frequencies of plain RoPE.
        factor_counts_from: Length that the factor multiplies: "original" for L, "maximum" for
            max_position_embeddings, "" if a plan does not know.
        no_extension: Reason why a plan carries no model of this rule to a longer context; None for
            a rule that has `extended`.
    """

    # Each rule has this method, with the keywords of the rule's constructor on `RopeScaling`. It
    # returns checked parameters. It raises RopeScaleConfigError for a value that describes no valid
    # scaling, and RopeScaleTypeError for a tensor.
    parameters: Callable[..., Parameters]

    rope_type: ClassVar[str]
    is_blend: ClassVar[bool] = False
    depends_on_seq_len: ClassVar[bool] = False
    smallest_dim: ClassVar[int] = 2
    first_release: ClassVar[int] = 4
    title: ClassVar[str] = ""
    is_scaling: ClassVar[bool] = True
    factor_counts_from: ClassVar[Literal["original", "maximum", ""]] = ""
    no_extension: ClassVar[str | None] = "Nothing is known of a larger factor."

    @abstractmethod
    def frequencies(self, p: Parameters) -> Frequencies:
        """Return the tensors of a scaling, in Transformers' order of float32 operations."""

    def attention_factor(self, p: Parameters) -> float:
        """Return the factor on cos and sin, a float64."""
        return 1.0

    def turning_pairs(self, p: Parameters) -> int:
        """Return the number of pairs whose frequency is above zero; they come first."""
        return p.rotary_dim // 2

    def at_length(self, p: Parameters, tokens: int) -> Parameters:
        """Return the parameters of the static scaling at one length.

        Args:
            p: Checked parameters.
            tokens: Length in tokens, checked.

        Returns:
            `p` itself if the rule does not depend on the length.
        """
        return dataclasses.replace(p, seq_len=tokens) if self.depends_on_seq_len else p

    def factor_at(self, p: Parameters, seq_lens: torch.Tensor) -> torch.Tensor:
        """Return the factors at many lengths.

        Args:
            p: Checked parameters.
            seq_lens: Lengths in tokens, `(n,)` int32 or int64.

        Returns:
            Context extension factors, `(n,)` float64.
        """
        return torch.full_like(seq_lens.to(torch.float64), p.factor)

    def attention_factor_at(self, p: Parameters, seq_lens: torch.Tensor) -> torch.Tensor:
        """Return the attention factors at many lengths.

        Args:
            p: Checked parameters.
            seq_lens: Lengths in tokens, `(n,)` int32 or int64.

        Returns:
            Factors on cos and sin, `(n,)` float64. The logarithm of a device may differ from the
            host's in its last bits, which float32 does not show.
        """
        return torch.full_like(seq_lens.to(torch.float64), self.attention_factor(p))

    def constants(self, p: Parameters, frequencies: Frequencies) -> tuple[torch.Tensor, ...]:
        """Return the tensors that `inv_freq_at` reads; the caller keeps them on its device.

        Args:
            p: Checked parameters.
            frequencies: The tensors of the scaling.

        Returns:
            Float32 tensors on the CPU, each `(rotary_dim // 2,)`.
        """
        return (frequencies.inv_freq,)

    def inv_freq_at(
        self, p: Parameters, constants: tuple[torch.Tensor, ...], seq_lens: torch.Tensor
    ) -> torch.Tensor:
        """Return the frequencies at many lengths, on their device and without waiting for it.

        Args:
            p: Checked parameters.
            constants: The result of `constants`, on the device of `seq_lens`.
            seq_lens: Lengths in tokens, `(n,)` int32 or int64.

        Returns:
            Radians per token, `(n, rotary_dim // 2)` float32.
        """
        (inv_freq,) = constants
        # expand().contiguous() may return the kept row itself; repeat() always copies.
        return inv_freq.repeat(len(seq_lens), 1)

    def hf_keys(self, p: Parameters) -> dict[str, object] | None:
        """Return the rope parameters that Transformers reads as this scaling.

        Returns:
            `rope_type`, the keys of the rule, and `rope_theta` if it differs from `p.rope_theta`.
            Values of None are not written. None in place of a dict if Transformers has no such
            rule.
        """
        return None

    def extended(self, p: Parameters, wanted: LongerContext) -> Extension:
        """Return the rope parameters that carry a model of this rule to a longer context.

        Args:
            p: Checked parameters of the config as it is.
            wanted: The lengths, and the rope parameters of the config.
        """
        raise NotImplementedError(self.no_extension)

    def llama_cpp(self, p: Parameters) -> LlamaCpp | None:
        """Return the scaling in the words of llama.cpp, None if no flags of it say the rule."""
        return None

    def doubts(self, p: Parameters) -> list[str]:
        """Return warnings about parameters of a config that are likely mistakes."""
        return []

    def shared(
        self,
        *,
        rotary_dim: object,
        rope_theta: object,
        mrope_section: object = None,
        mrope_interleaved: object = False,
    ) -> Parameters:
        """Return the parameters that every rule has, checked."""
        dim = check.dimension("rotary_dim", rotary_dim, self.smallest_dim)
        return Parameters(
            rope_type=self.rope_type,
            rotary_dim=dim,
            frequency_dim=dim,
            rope_theta=check.theta(rope_theta),
            mrope_section=check.mrope_section(mrope_section, dim),
            mrope_interleaved=check.flag("mrope_interleaved", mrope_interleaved)
            and mrope_section is not None,
        )

    def derive(self, p: Parameters) -> Frequencies:
        """Return the tensors of a scaling, with every turning frequency finite and above zero.

        Raises:
            RopeScaleConfigError: If a frequency leaves the range of float32.
        """
        frequencies = self.frequencies(p)
        turning = frequencies.inv_freq[: self.turning_pairs(p)]
        if not bool((torch.isfinite(turning) & (turning > 0)).all()):
            raise RopeScaleConfigError(
                expected(
                    "rope_theta and factor",
                    "frequencies that float32 can hold above zero",
                    f"rope_theta={p.rope_theta!r}, factor={p.factor!r}",
                )
            )
        return frequencies

    def derive_attention_factor(self, p: Parameters) -> float:
        """Return the factor on cos and sin.

        Raises:
            RopeScaleConfigError: If the factor leaves the range of float32.
        """
        result = self.attention_factor(p)
        if not FLOAT32_TINY <= result <= FLOAT32_MAX:
            requirement = "values whose attention factor float32 can hold"
            got = f"mscale={p.mscale!r}, mscale_all_dim={p.mscale_all_dim!r}, factor={p.factor!r}"
            raise RopeScaleConfigError(expected("mscale", requirement, got))
        return result

    def named_keys(self, p: Parameters, *keys: str) -> dict[str, object]:
        """Return `rope_type` and parameters under the names of `Parameters`, as JSON values."""
        values = {key: getattr(p, key) for key in keys}
        written = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
        return {"rope_type": self.rope_type, **written}


class ConfigRule(Rule):
    """A rule that configs name.

    Attributes:
        own_keys: Config keys that are about this rule even at the top level of a config. A config
            in which such a key has no effect is likely a mistake.
        takes_odd_share: Whether an odd number of channels may turn, rounded up to pairs.
        takes_share: Whether `partial_rotary_factor` is a parameter of the rule. The rule then spans
            the whole head.
        needs_head_dim: Whether Transformers fails if the config of some model types has no
            `head_dim`.
    """

    own_keys: ClassVar[frozenset[str]] = frozenset()
    takes_odd_share: ClassVar[bool] = True
    takes_share: ClassVar[bool] = False
    needs_head_dim: ClassVar[bool] = False

    @abstractmethod
    def keys(self, entry: RopeEntry) -> frozenset[str]:
        """Return the rope parameters that the rule uses in the dialect of an entry."""

    @abstractmethod
    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        """Return the scaling that the rope parameters of an entry stand for.

        The values are checked later, by `parameters`. Its keywords have the names of the config
        keys, so its messages name the key.

        Args:
            entry: The rope parameters of one layer type, and the dialect to follow.
            seq_len: Length in tokens, for rules and dialects that follow it.

        Returns:
            The `rope_type` of the rule to build, and keywords for its `parameters`. A dialect may
            read another rule out of the name, such as NTK out of "dynamic".

        Raises:
            RopeScaleConfigError: Naming the key and the value.
            RopeScaleUnsupportedError: For a value that no rule here has.
        """

    def keys_beside_layer_types(self, entry: RopeEntry) -> frozenset[str]:
        """Return the keys that count beside parameters that are nested by layer type."""
        return frozenset()

    def scales_softmax(self, entry: RopeEntry) -> bool:
        """Return whether the model multiplies its softmax scale by mscale squared."""
        return False


def optional_positive(name: str, value: object) -> float | None:
    """Return a positive number or None, checked."""
    return None if value is None else check.positive(name, value)


def optional_length(name: str, value: object, low: int = 1) -> int | None:
    """Return a number of tokens or None, checked."""
    return None if value is None else check.length(name, value, low)
