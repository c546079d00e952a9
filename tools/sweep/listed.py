"""Forms that this package does not read as the class does, each with a line of the class."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Listed:
    """Forms of model types with one reason.

    Attributes:
        name: The class.
        types: The model types.
        forms: The forms of each type.
        file: The file of the class, in the folder of models of Transformers.
        line: The line of the class that is the reason.
        reason: The consequence of that line.
    """

    name: str
    types: tuple[str, ...]
    forms: tuple[str, ...]
    file: str
    line: str
    reason: str


LISTED = (
    Listed(
        name="Ernie4_5_VLMoeTextRotaryEmbedding",
        types=("ernie4_5_vl_moe", "ernie4_5_vl_moe_text"),
        forms=("default", "bare", "base"),
        file="ernie4_5_vl_moe/modeling_ernie4_5_vl_moe.py",
        line="inv_freq_3d[:hw_dim] = torch.cat([inv_freq[:-t_dim][0::2], inv_freq[:-t_dim][1::2]])",
        reason="The class keeps its frequencies by axis, and puts the angles back into the order "
        "of the pairs. Here the frequencies are in the order of the pairs. The values are equal.",
    ),
    Listed(
        name="Qwen3OmniMoeThinkerTextRotaryEmbedding",
        types=("qwen3_omni_moe", "qwen3_omni_moe_text", "qwen3_omni_moe_thinker"),
        forms=("default",),
        file="qwen3_omni_moe/modeling_qwen3_omni_moe.py",
        line='dim = getattr(config, "head_dim", None) or config.hidden_size // '
        "config.num_attention_heads",
        reason="The default sizes, 2048 channels for 28 heads, give heads of 73 channels. No model "
        "can rotate an odd head, so the form is refused.",
    ),
    Listed(
        name="Mistral4Config",
        types=("mistral4",),
        forms=("yarn", "linear"),
        file="mistral4/configuration_mistral4.py",
        line="self.head_dim = self.qk_nope_head_dim + self.qk_rope_head_dim",
        reason="A `rope_scaling` replaces the class's rope parameters and the share of the head in "
        "them. The class then makes frequencies for 128 channels, and its attention rotates 64. "
        "Here 64 channels rotate.",
    ),
)

# Rotary classes that turn by several positions under the usual name of the frequencies. Classes
# with a method `compute_axial_rope_parameters` need no line.
SEVERAL_POSITIONS = {
    "DINOv3ViTRopePositionEmbedding": "angles = 2 * math.pi * patch_coords[:, :, None] * "
    "self.inv_freq[None, None, :]",
    "EfficientLoFTRRotaryEmbedding": "feats_height, feats_width = x.shape[-2:]",
    "EomtDinov3RotaryEmbedding": "angles = 2 * math.pi * patch_coords[:, :, None] * "
    "self.inv_freq[None, None, :]",
    "EsmFold2RotaryEmbedding": "[spatial_inv_freq.repeat(3), uid_inv_freq, "
    "spatial_inv_freq.new_zeros(self.num_inactive_channels)]",
    "Llama4VisionRotaryEmbedding": "freqs = torch.cat([freqs_x, freqs_y], dim=-1).float()"
    ".contiguous()[..., ::2]",
    "Sapiens2RopePositionEmbedding": "angles = 2 * math.pi * patch_coords[:, :, None] * "
    "self.inv_freq[None, None, :]",
}

# Model types whose modules rotate by a function or a table, and have no rotary class.
WITHOUT_A_CLASS = ("codegen", "gptj", "lightglue", "roformer", "vjepa2")
