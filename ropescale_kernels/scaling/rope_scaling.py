"""`RopeScaling`: the rotary frequencies of a model, as numbers that cannot change."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import torch

from ..errors import RopeScaleTypeError, RopeScaleWarning, expected
from . import magnitude
from . import validate as check
from .blend_constructors import BlendConstructors
from .config.dialects import Dialect
from .config.load import HasToDict
from .config.resolve import resolve
from .constructors import Constructors, S
from .hf_writer import hf_config
from .parameters import Parameters
from .rules import RULES
from .rules.frequencies import Frequencies
from .rules.rule import Rule


class RopeScaling(BlendConstructors):
    """The frequencies, the ramp, the factor and the attention factor of one scaling rule.

    Build one with a named constructor (`RopeScaling.yarn(...)`) or from a model's config. A scaling
    is immutable, and properties return copies of tensors. Two scalings are equal if their
    parameters are.

    Every rule is described by `base_inv_freq * ((1 - ramp) + ramp / factor)`, up to float32
    rounding; the bits of `inv_freq` follow the rule's own order of operations. The rules that
    replace frequencies (ntk, dynamic, longrope) have a ramp of zeros and their result as the base.
    """

    __slots__ = (
        "_attention_factor",
        "_constants_by_device",
        "_fingerprint",
        "_frequencies",
        "_parameters",
        "_rule",
        "_softmax_scale_multiplier",
    )

    _parameters: Parameters
    _rule: Rule
    _frequencies: Frequencies
    _attention_factor: float
    _softmax_scale_multiplier: float
    _fingerprint: str
    _constants_by_device: dict[torch.device, tuple[torch.Tensor, ...]]

    def __init__(self, *arguments: object, **keys: object) -> None:
        want = "a named constructor such as RopeScaling.yarn(...) or from_hf_config(...)"
        raise RopeScaleTypeError(expected("RopeScaling", want, "a direct call"))

    @classmethod
    def _from_parameters(cls: type[S], parameters: Parameters) -> S:
        check.outside_graphs("RopeScaling")
        self, rule = object.__new__(cls), RULES[parameters.rope_type]
        values = {
            "_parameters": parameters,
            "_rule": rule,
            "_frequencies": rule.derive(parameters),
            "_attention_factor": rule.derive_attention_factor(parameters),
            "_softmax_scale_multiplier": magnitude.softmax_scale_multiplier(parameters),
            "_fingerprint": parameters.fingerprint(),
            "_constants_by_device": {},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        return self

    @classmethod
    def from_hf_config(
        cls,
        config: Mapping[str, object] | str | os.PathLike[str] | HasToDict,
        dialect: str | Dialect = "hf",
        layer_type: str | None = None,
        seq_len: int | None = None,
        strict: bool = False,
    ) -> RopeScaling:
        """Build the scaling that a model's config describes, and warn of keys that have no effect.

        Reads `rope_scaling` (with `type` or `rope_type`) and `rope_parameters`, flat or nested by
        layer type, in the `text_config` of a multimodal model. The config is not changed.

        Args:
            config: A dict, the path of a config.json or of the folder that holds one, or a config
                object with `to_dict()`.
            dialect: Implementation whose reading of the keys counts: "hf" (Transformers 5.23),
                "hf-4.51" (4.51 to 4.53), "hf-4.45" (4.45 to 4.49), "vllm" (0.32), "sglang"
                (0.5.23), "deepseek" (DeepSeek's inference code) or "original" (the code of YaRN's
                authors). The dialect decides the rule, the parameters and the magnitude. The order
                of float32 operations is always that of Transformers, so "deepseek" may differ in
                the last bit. A `scaling.config.dialects.Dialect` of your own is taken too.
            layer_type: Entry of nested `rope_parameters` to use.
            seq_len: Length in tokens for rules that follow it (dynamic, longrope, all of dialect
                "deepseek"); None gives the frequencies that a model is built with.
            strict: Whether a key that the dialect ignores is an error instead of a warning, and so
                is a `model_type` that is missing or not known. A dict without `model_type` passes
                if its keys leave nothing open, as the result of `to_hf_config` does.

        Returns:
            The scaling. In the dialects of Transformers, `inv_freq` has the bits of Transformers.

        Raises:
            RopeScaleConfigError: Naming the key and the value, if they describe no valid scaling.
            RopeScaleTypeError: If `config` is of another kind, or holds a tensor.
            RopeScaleUnsupportedError: For an unknown dialect, or a rule that the dialect does not
                have.

        Warns:
            RopeScaleWarning: For ignored keys, unknown model types and lengths that do not agree.
        """
        resolved = resolve(
            config, dialect=dialect, layer_type=layer_type, seq_len=seq_len, strict=strict
        )
        for warning in resolved.warnings():
            warnings.warn(warning, RopeScaleWarning, stacklevel=2)
        return cls._from_parameters(resolved.parameters())

    def to_hf_config(self, transformers: int = 5) -> dict[str, object]:
        """Return the config keys that Transformers reads as this scaling.

        `from_hf_config` of the result, in dialect "hf", has the same numbers, and is equal to the
        scaling if that was read in dialect "hf" or built from a rule of Transformers. NTK-aware
        scaling becomes a larger `rope_theta`, NTK-by-parts a YaRN of attention_factor 1. A length
        (`seq_len`), which some dialects fix, is no part of a config. `head_dim` is that of the
        rotated channels: into a model's own config, where heads may be larger, only
        `rope_parameters` (or `rope_scaling` and `rope_theta`) belong.

        Args:
            transformers: Major release whose keys to use: 5 for `rope_parameters`, 4 for
                `rope_scaling` and `rope_theta`.

        Returns:
            A new dict of JSON values: the text config's keys that concern the rotation.

        Raises:
            RopeScaleUnsupportedError: For a rule that this release does not have (dynamic YaRN, and
                the proportional rule before 5).
            RopeScaleValueError: For another release.
        """
        return hf_config(self._parameters, transformers)

    @property
    def inv_freq(self) -> torch.Tensor:
        """Scaled frequencies, `(rotary_dim // 2,)` float32 on the CPU, radians per token."""
        return self._frequencies.inv_freq.clone()

    @property
    def base_inv_freq(self) -> torch.Tensor:
        """Frequencies that ramp and factor act on, `(rotary_dim // 2,)` float32."""
        return self._frequencies.base_inv_freq.clone()

    @property
    def ramp(self) -> torch.Tensor:
        """`(rotary_dim // 2,)` float32: 0 keeps a frequency, 1 divides it by the factor."""
        return self._frequencies.ramp.clone()

    @property
    def pos_freqs(self) -> torch.Tensor:
        """Tokens per radian before scaling, `(rotary_dim // 2,)` float32, of a blend."""
        if self._frequencies.pos_freqs is None:
            raise AttributeError(
                f"pos_freqs: expected a rule that is a blend, got rope_type={self.rope_type!r}"
            )
        return self._frequencies.pos_freqs.clone()

    @property
    def factor(self) -> float:
        """Context extension factor in force; 1 if nothing is extended."""
        return self._parameters.factor

    @property
    def attention_factor(self) -> float:
        """Factor on cos and sin of q and of k, on rotated channels: sqrt(1/t)."""
        return self._attention_factor

    @property
    def softmax_scale_multiplier(self) -> float:
        """DeepSeek's mscale squared, for the softmax scale; 1 for every other model."""
        return self._softmax_scale_multiplier

    @property
    def rope_type(self) -> str:
        """Name of the rule, as in configs if they have the rule (dynamic NTK is "dynamic")."""
        return self._parameters.rope_type

    @property
    def rotary_dim(self) -> int:
        """Number of rotated channels, even."""
        return self._parameters.rotary_dim

    @property
    def frequency_dim(self) -> int:
        """D in the exponents; one less than `rotary_dim` if a share of a head is odd."""
        return self._parameters.frequency_dim

    @property
    def rope_theta(self) -> float:
        """Base of the frequencies."""
        return self._parameters.rope_theta

    @property
    def original_max_position_embeddings(self) -> int | None:
        """L, tokens of pretraining, of rules that use it."""
        return self._parameters.original_max_position_embeddings

    @property
    def max_position_embeddings(self) -> int | None:
        """n0 of the dynamic NTK rule, tokens."""
        return self._parameters.max_position_embeddings

    @property
    def mrope_section(self) -> list[int] | None:
        """Pairs per position axis, or None if positions have one axis."""
        section = self._parameters.mrope_section
        return None if section is None else list(section)

    @property
    def mrope_interleaved(self) -> bool:
        """Whether position axes alternate from pair to pair instead of forming bands."""
        return self._parameters.mrope_interleaved

    @property
    def is_blend(self) -> bool:
        """Whether `inv_freq` blends `1 / pos_freqs` and `1 / (factor * pos_freqs)`."""
        return self._rule.is_blend

    @property
    def depends_on_seq_len(self) -> bool:
        """Whether a dynamic table can follow lengths with this rule."""
        return self._rule.depends_on_seq_len

    def fingerprint(self) -> str:
        """Return the SHA-256 of parameters and dialect, in hexadecimal; nothing derived enters."""
        return self._fingerprint

    def at_seq_len(self, seq_len: int) -> RopeScaling:
        """Return the static scaling at one length.

        A blend takes the factor max(1, seq_len / L), whatever its own factor; an explicit
        attention_factor stays. A rule that does not depend on the length returns itself.

        Args:
            seq_len: Length in tokens, from 0.

        Returns:
            A scaling whose numbers equal, in float32, those of the `*_at` methods.

        Raises:
            RopeScaleConfigError: If `seq_len` is no integer from 0 to 2**53, or if a frequency
                leaves the range of float32 at this length.
        """
        tokens = check.length("seq_len", seq_len, low=0)
        parameters = self._rule.at_length(self._parameters, tokens)
        return self if parameters is self._parameters else self._from_parameters(parameters)

    def factor_at(self, seq_lens: torch.Tensor) -> torch.Tensor:
        """Return the factors at many lengths, without waiting for their device.

        Args:
            seq_lens: Lengths in tokens, `(n,)` int32 or int64, on any device.

        Returns:
            `(n,)` float64 on the same device.

        Raises:
            RopeScaleTypeError: If `seq_lens` is no tensor of such a dtype.
            RopeScaleValueError: If `seq_lens` has another rank.
        """
        return self._rule.factor_at(self._parameters, check.seq_lens(seq_lens))

    def attention_factor_at(self, seq_lens: torch.Tensor) -> torch.Tensor:
        """Return the attention factors at many lengths; arguments and errors as `factor_at`."""
        return self._rule.attention_factor_at(self._parameters, check.seq_lens(seq_lens))

    def inv_freq_at(self, seq_lens: torch.Tensor) -> torch.Tensor:
        """Return the frequencies at many lengths; arguments and errors as `factor_at`.

        The first call on a device copies the rule's constants there; later ones copy nothing. On
        the CPU the result has the bits of `at_seq_len`. On another device a blend has the same
        bits, and dynamic NTK differs by that device's rounding of a power.

        Returns:
            `(n, rotary_dim // 2)` float32 on the same device.
        """
        checked = check.seq_lens(seq_lens)
        constants = self._constants_by_device.get(checked.device)
        if constants is None:
            tensors = self._rule.constants(self._parameters, self._frequencies)
            constants = tuple(tensor.to(checked.device) for tensor in tensors)
            self._constants_by_device[checked.device] = constants
        return self._rule.inv_freq_at(self._parameters, constants, checked)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name}: expected no assignment, got {value!r} for a fixed scaling")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name}: expected no deletion from a fixed scaling")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RopeScaling):
            return NotImplemented
        return self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash(self._fingerprint)

    def __copy__(self) -> RopeScaling:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RopeScaling:
        return self

    def __reduce__(self) -> tuple[object, tuple[Parameters]]:
        return RopeScaling._from_parameters, (self._parameters,)

    def __repr__(self) -> str:
        shown = {
            "rotary_dim": self.rotary_dim,
            "rope_theta": self.rope_theta,
            "factor": self.factor,
            "original_max_position_embeddings": self.original_max_position_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "attention_factor": self.attention_factor,
            "mrope_section": self.mrope_section,
        }
        parts = [f"{name}={value!r}" for name, value in shown.items() if value is not None]
        return f"RopeScaling({self.rope_type!r}, {', '.join(parts)})"


def _name_constructors() -> None:
    """Name the constructors as users call them, because Python's own errors show that name."""
    for kind in (Constructors, BlendConstructors):
        for name, method in vars(kind).items():
            if isinstance(method, classmethod) and not name.startswith("_"):
                method.__func__.__qualname__ = f"{RopeScaling.__name__}.{name}"


_name_constructors()
