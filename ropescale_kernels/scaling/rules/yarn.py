"""YaRN (arXiv:2309.00071): a ramp over the pairs, and a magnitude on q and k."""

from __future__ import annotations

from .. import validate as check
from ..config.rope_entry import RopeEntry
from ..parameters import Parameters
from . import yarn_keys
from .blend import RAMP_KEYS, MagnitudeBlend
from .rule import ConfigRule


class Yarn(MagnitudeBlend, ConfigRule):
    """`inv_freq = (1 - ramp) / pos_freqs + ramp / (factor * pos_freqs)`."""

    rope_type = "yarn"
    own_keys = frozenset(
        {*RAMP_KEYS, "attention_factor", "attn_factor", "mscale", "mscale_all_dim"}
    )
    takes_odd_share = False
    needs_head_dim = True

    def parameters(
        self,
        *,
        factor: object,
        original_max_position_embeddings: object,
        beta_fast: object = 32.0,
        beta_slow: object = 1.0,
        attention_factor: object = None,
        mscale: object = None,
        mscale_all_dim: object = None,
        truncate: object = True,
        **shared: object,
    ) -> Parameters:
        base = self.shared(**shared)
        base = self.magnitude_parameters(base, attention_factor, mscale, mscale_all_dim)
        return self.blend_parameters(
            base,
            factor=check.scale_factor(factor),
            original_max_position_embeddings=original_max_position_embeddings,
            beta_fast=beta_fast,
            beta_slow=beta_slow,
            truncate=truncate,
        )

    def keys(self, entry: RopeEntry) -> frozenset[str]:
        return yarn_keys.keys(entry)

    def read(self, entry: RopeEntry, seq_len: int | None) -> tuple[str, dict[str, object]]:
        arguments = yarn_keys.arguments(entry, seq_len)
        return ("default", {}) if arguments is None else (self.rope_type, arguments)

    def keys_beside_layer_types(self, entry: RopeEntry) -> frozenset[str]:
        return frozenset({"truncate"} if yarn_keys.reads_truncate_beside(entry) else ())

    def scales_softmax(self, entry: RopeEntry) -> bool:
        return yarn_keys.scales_softmax(entry)

    def hf_keys(self, p: Parameters) -> dict[str, object]:
        return self.named_keys(p, *RAMP_KEYS, "attention_factor", "mscale", "mscale_all_dim")
