"""Rows of further classes: text models under names of their own, and encoders of any modality."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .layer_keys import FULL
from .model_type import Axes, ModelType
from .shared_facts import AXES_QWEN2, AXES_QWEN3, GPT_OSS_ROPE, PLAIN

_SCALING = frozenset({"rope_scaling", "rope_parameters"})
# Models that read of this list only which layers rotate, 0 for those that do not.
_LAYERS_THAT_ROTATE = frozenset({"layer_rope_theta"})
_DEFAULT_ALONE = frozenset({"default"})
_LONGROPE_ALONE = frozenset({"default", "longrope"})
_MISTRAL_LARGE4_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 2048.0,
    "original_max_position_embeddings": 512,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "attention_factor": 1.0,
}
_HIGGS_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 32.0,
    "original_max_position_embeddings": 1024,
    "low_freq_factor": 0.125,
    "high_freq_factor": 0.5,
}


def _unscaled(rope_theta: float, **more: object) -> dict[str, object]:
    """Return rope parameters of a class that win over a base at the top level."""
    return {"rope_type": "default", "rope_theta": rope_theta, **more}


def _text(**defaults: object) -> ModelType:
    return ModelType(defaults=defaults)


def _encoder(**defaults: object) -> ModelType:
    """Return a row of a class without a growing cache, or with layers that are not counted."""
    return ModelType(defaults=defaults, uncounted_layers=True)


def _share(share: float, **defaults: object) -> ModelType:
    return ModelType(
        defaults={"partial_rotary_factor": share, **defaults},
        partial_in_default=True,
        uncounted_layers=True,
    )


def _unscaled_share(share: float) -> ModelType:
    """Return a row of a class whose share is lost if the config has rope parameters."""
    rope = _unscaled(1e4, partial_rotary_factor=share)
    return ModelType(
        defaults={"rope_parameters": rope}, partial_in_default=True, uncounted_layers=True
    )


def _conformer(default: str, **fields: Any) -> ModelType:
    """Return a row of a conformer, which rotates only if a key says so, and reads a base alone."""
    key = "position_embeddings_type"
    return ModelType(
        defaults={key: default, **fields.pop("defaults", {})},
        head_dim_key="",
        theta_key="rotary_embedding_base",
        drops=_SCALING,
        rotates_if=(key, "rotary"),
        uncounted_layers=True,
        **fields,
    )


_GPTJ = ModelType(
    defaults={"rotary_dim": 64},
    names={"hidden_size": "n_embd", "num_attention_heads": "n_head"},
    theta_key="",
    rotary_dim_key="rotary_dim",
    drops=_SCALING,
    partial_in_default=True,
)
FURTHER: Mapping[str, ModelType] = MappingProxyType(
    {
        # Text models.
        "axk2": ModelType(
            defaults={"qk_rope_head_dim": 32},
            head_dim_key="qk_rope_head_dim",
            softmax_mscale=True,
            layer_pattern=(FULL,),
        ),
        "chameleon": PLAIN,
        "cohere2_moe": ModelType(
            defaults={"head_dim": 128},
            rotary_fraction_key="",
            drops=frozenset({"rope_scaling"}),
            uncounted_layers=True,
        ),
        "cosmos3_edge_text": ModelType(
            defaults={"head_dim": 128, "rope_parameters": _unscaled(1e8)},
            axes=AXES_QWEN3,
            rules=_DEFAULT_ALONE,
        ),
        "csm": _text(rope_theta=5e5),
        "csm_depth_decoder_model": _text(rope_theta=5e5),
        "dbrx": ModelType(
            names={
                "hidden_size": "d_model",
                "num_attention_heads": "n_heads",
                "max_position_embeddings": "max_seq_len",
            },
            uncounted_layers=True,
        ),
        "deepseek_ocr2_text": ModelType(head_dim_key=""),
        "emu3_text_model": _text(rope_theta=1e6),
        # The class orders its frequencies by axis, and puts them back into the order of the pairs.
        "ernie4_5_vl_moe_text": ModelType(defaults={"rope_theta": 5e5}, rules=_DEFAULT_ALONE),
        "evolla": _text(rope_theta=5e5),
        "EvollaModel": _text(rope_theta=5e5),
        "flint": _encoder(head_dim=128),
        "glm_image_text": ModelType(
            partial_in_default=True, axes=Axes((8, 12, 12), interleaved=False)
        ),
        "gpt_neox_japanese": ModelType(
            theta_key="rotary_emb_base",
            rotary_fraction_key="rotary_pct",
            partial_in_default=True,
        ),
        "granite4_vision_text": PLAIN,
        "granite_docling_text": PLAIN,
        "granite_swa": ModelType(layer_theta_key="layer_rope_theta", uncounted_layers=True),
        "granitemoe_swa": ModelType(layer_theta_key="layer_rope_theta", uncounted_layers=True),
        "higgs_audio_v2": _text(head_dim=128, rope_parameters=_HIGGS_ROPE),
        "hrm_text": _encoder(head_dim=128),
        "hunyuan_vl_text": ModelType(
            needs_head_dim=True,
            ntk_alpha=True,
            names={"head_dim": "attention_head_dim"},
            aliases={"xdrope": "dynamic"},
        ),
        "idefics": PLAIN,
        "internlm3": _text(head_dim=128),
        "iquestcoder": _text(head_dim=128),
        "kolibri1": _encoder(head_dim=128),
        "mistral_large4_text": ModelType(
            defaults={"qk_rope_head_dim": 64, "rope_parameters": _MISTRAL_LARGE4_ROPE},
            head_dim_key="qk_rope_head_dim",
            softmax_mscale=True,
            uncounted_layers=True,
            caveat="The weights `alpha` of the checkpoint multiply its frequencies by exp(alpha).",
        ),
        "molmo2_text": ModelType(
            defaults={"head_dim": 128},
            unrelated_top_level_keys=frozenset({"rope_scaling_layers"}),
            caveat="Layers outside its list `rope_scaling_layers` rotate without scaling.",
        ),
        "muse_glimmer_assistant": _encoder(rope_theta=5e5, head_dim=128),
        "muse_glimmer_text": ModelType(
            defaults={"head_dim": 128},
            uncounted_layers=True,
            unrelated_top_level_keys=_LAYERS_THAT_ROTATE,
        ),
        "muse_spark_text": ModelType(
            defaults={"head_dim": 64, "rope_parameters": _unscaled(5e5)},
            uncounted_layers=True,
            unrelated_top_level_keys=_LAYERS_THAT_ROTATE,
        ),
        "openai_privacy_filter": _encoder(
            head_dim=64, rope_theta=1.5e5, rope_parameters=GPT_OSS_ROPE
        ),
        "phi4_multimodal": ModelType(
            defaults={"original_max_position_embeddings": 4096},
            partial_in_default=True,
            uncounted_layers=True,
            unrelated_top_level_keys=frozenset({"original_max_position_embeddings"}),
            rules=_LONGROPE_ALONE,
            aliases={"su": "longrope", "yarn": "longrope"},
        ),
        "phimoe": ModelType(
            defaults={"rope_theta": 1e6},
            rules=_LONGROPE_ALONE,
            longrope_mscales=True,
            uncounted_layers=True,
            caveat="Its class in Transformers never takes the long factors of longrope.",
        ),
        "qwen2_5_omni_talker": ModelType(
            defaults={"rope_theta": 1e6, "head_dim": 128}, axes=AXES_QWEN2, uncounted_layers=True
        ),
        "qwen3_omni_moe_talker_code_predictor": _encoder(head_dim=128),
        "qwen3_omni_moe_talker_text": ModelType(axes=AXES_QWEN3, uncounted_layers=True),
        "recurrent_gemma": ModelType(
            defaults={"partial_rotary_factor": 0.5},
            partial_in_default=True,
            rules=_DEFAULT_ALONE,
            uncounted_layers=True,
        ),
        "t5_gemma_module": _encoder(head_dim=256),
        "unlimited_ocr_text": ModelType(head_dim_key="", uncounted_layers=True),
        "zamba2": ModelType(
            defaults={"use_mem_rope": False},
            head_dim_key="attention_head_dim",
            names={"attention_head_dim": "head_dim"},
            head_dim_multiple=2,
            rotates_if=("use_mem_rope", True),
            uncounted_layers=True,
        ),
        # Encoders of text, audio, images, video and proteins, and decoders of their codes.
        "blt_global_transformer": _encoder(rope_theta=5e5),
        "blt_local_decoder": _encoder(rope_theta=5e5),
        "blt_local_encoder": _encoder(rope_theta=5e5),
        "blt_patcher": _encoder(),
        "clvp_encoder": ModelType(
            defaults={"projection_dim": 768, "use_rotary_embedding": True},
            head_dim_key="",
            head_keys=("projection_dim", "num_attention_heads"),
            head_dim_multiple=0.5,
            least_head_dim=32,
            theta_key="",
            drops=_SCALING,
            rotates_if=("use_rotary_embedding", True),
            uncounted_layers=True,
        ),
        "codegen": _GPTJ,
        "deepseek_ocr2_encoder": _encoder(),
        "dia_decoder": _encoder(head_dim=128),
        "dia_encoder": _encoder(head_dim=128),
        "dots3_note_audio_encoder": dataclasses.replace(_share(0.5), head_dim_key=""),
        "esm": ModelType(
            drops=_SCALING,
            rotates_if=("position_embedding_type", "rotary"),
            uncounted_layers=True,
        ),
        "esmc": _encoder(),
        "glmasr_encoder": _share(0.5),
        "gptj": _GPTJ,
        "gradium_phonon_tts": _encoder(),
        "gte": _encoder(rope_theta=1.6e5),
        "jina_embeddings_v3": _encoder(rope_theta=2e4),
        "kyutai_speech_to_text": _encoder(),
        "lasr_encoder": _encoder(),
        "mimi": _encoder(),
        "mimi_decoder": _encoder(),
        "mimi_encoder": _encoder(),
        "moonshine": ModelType(
            defaults={"partial_rotary_factor": 0.9, "num_attention_heads": 8},
            names={"num_attention_heads": "decoder_num_attention_heads"},
            partial_in_default=True,
            uncounted_layers=True,
        ),
        "moonshine_streaming": _unscaled_share(0.8),
        "moshi": _encoder(),
        "nemotron3_5_transcribe_asr_audio": _unscaled_share(0.5),
        "nemotron3_5_transcribe_word_timestamp": _unscaled_share(0.5),
        "nemotron3_diarization_audio": _share(1.0),
        "neucodec": _encoder(head_dim=64),
        "nomic_bert": _encoder(rope_theta=1e3),
        "pe_audio_encoder": _encoder(rope_theta=2e4, head_dim=128),
        "pe_audio_video_encoder": _encoder(rope_theta=2e4, head_dim=128),
        "pe_video_encoder": _encoder(rope_theta=2e4, head_dim=128),
        "pocket_tts": _encoder(),
        "pocket_tts_audio_tokenizer": _encoder(),
        "pocket_tts_audio_tokenizer_decoder": _encoder(),
        "pocket_tts_audio_tokenizer_encoder": _encoder(),
        "qwen2_5_omni_dit": _encoder(head_dim=64),
        "timesfm2_5": _encoder(head_dim=80),
        "voxtral_realtime_encoder": _encoder(head_dim=64),
        "seamless_m4t": _conformer(
            "relative",
            defaults={"speech_encoder_attention_heads": 16},
            head_keys=("hidden_size", "speech_encoder_attention_heads"),
        ),
        "wav2vec2-bert": _conformer("relative_key"),
        "wav2vec2-conformer": _conformer("relative"),
        "xcodec2": _encoder(head_dim=64),
    }
)
