"""Model types whose text model has a type of its own: which one, and where its keys are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Type of the text model, by the types of the whole models that take it if their `text_config` names
# none.
_WHOLES = {
    "aria_text": "aria",
    "clvp_encoder": "clvp",
    "cohere2": "aya_vision cohere2_vision",
    "cohere_compass_text": "cohere_compass",
    "cosmos3_edge_text": "cosmos3_edge",
    "deepseek_ocr2_text": "deepseek_ocr2",
    "deepseek_v3": "kimi_k25",
    "dia_decoder": "dia",
    "diffusion_gemma_text": "diffusion_gemma",
    "dots3_note_text": "dots3_note",
    "embedding_gemma2_text": "embedding_gemma2",
    "emu3_text_model": "emu3",
    "ernie4_5_vl_moe_text": "ernie4_5_vl_moe",
    "exaone4": "exaone4_5",
    "gemma": "colpali paligemma",
    "gemma3_text": "gemma3 shieldgemma2",
    "gemma3n_text": "gemma3n",
    "gemma4_text": "gemma4 gemma4_assistant",
    "gemma4_unified_text": "gemma4_unified gemma4_unified_assistant",
    "glm4v_moe_text": "glm4v_moe",
    "glm4v_text": "glm46v glm4v glmga",
    "glm_image_text": "glm_image",
    "glm_ocr_text": "glm_ocr",
    "granite": "granite_speech granite_speech_plus",
    "granite4_vision_text": "granite4_vision",
    "granite_docling_text": "granite_docling",
    "hunyuan_vl_text": "hunyuan_vl",
    "hyperclovax": "hyperclovax_vision_v2",
    "lfm2": "lfm2_vl",
    "lfm3": "lfm3_vl",
    "llama": (
        "deepseek_vl deepseek_vl_hybrid glmasr idefics3 janus llava llava_next llava_next_video "
        "perception_lm smolvlm video_llava vipllava voxtral"
    ),
    "llama4_text": "llama4",
    "minimax_m3_vl_text": "minimax_m3_vl",
    "mistral": "idefics2 mistral3",
    "mistral_large4_text": "mistral_large4",
    "mllama_text_model": "mllama",
    "modernbert": "colmodernvbert modernvbert pe_audio pe_audio_video pe_video",
    "molmo2_text": "molmo2",
    "muse_glimmer_text": "muse_glimmer",
    "muse_spark_text": "muse_spark",
    "paddleocr_vl_text": "paddleocr_vl",
    "persimmon": "fuyu",
    "qwen2": (
        "audioflamingo3 fast_vlm got_ocr2 internvl llava_onevision musicflamingo ovis2 "
        "pp_chart2table qwen2_audio vibevoice vibevoice_asr video_llama_3"
    ),
    "qwen2_5_omni_text": "qwen2_5_omni qwen2_5_omni_thinker",
    "qwen2_5_vl_text": "qwen2_5_vl",
    "qwen2_vl_text": "colqwen2 qwen2_vl",
    "qwen3": "fun_asr_nano lighton_ocr moss_transcribe_diarize qianfan_ocr qwen3_asr",
    "qwen3_5_moe_text": "qwen3_5_moe",
    "qwen3_5_text": "jev minicpm_ocr minicpmv4_6 minicpmv4_7 qwen3_5",
    "qwen3_omni_moe_text": "qwen3_omni_moe qwen3_omni_moe_thinker",
    "qwen3_vl_moe_text": "qwen3_vl_moe",
    "qwen3_vl_text": "cosmos3_omni qwen3_vl",
    "qwen4_exp_text": "qwen4_exp",
    "step3p5": "step3p7",
    "t5_gemma_module": "t5gemma",
    "t5gemma2_decoder": "t5gemma2",
    "t5gemma2_text": "t5gemma2_encoder",
    "ultrabert": "ultravbert",
    "unlimited_ocr_text": "unlimited_ocr",
    "voxtral_realtime_text": "voxtral_realtime",
}
TEXT_TYPES: Mapping[str, str] = MappingProxyType(
    {whole: text for text, wholes in _WHOLES.items() for whole in wholes.split()}
)

# Values that a whole model's class gives its text model, by the type of the whole model.
TEXT_DEFAULTS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "glmasr": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        "voxtral": {"rope_theta": 1e8, "head_dim": 128},
        "voxtral_realtime": {"rope_theta": 1e6, "head_dim": 128},
    }
)

# Model types whose class builds the text model's part from flat keys, and whether it drops the keys
# that the part's class does not declare.
FLAT_WHOLES: Mapping[str, bool] = MappingProxyType(
    {"dots3_note": False, "fuyu": True, "hunyuan_vl": True, "paddleocr_vl": True}
)

# Keys that lead to the text model's own config, the first ways before the later ones.
_TEXT_PATH = ("text_config",)
_VLM_PATH = ("vlm_config", "text_config")
_THINKER_PATH = ("thinker_config", "text_config")
_TEXT_PATHS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "colmodernvbert": (_VLM_PATH,),
        "colpali": (_VLM_PATH,),
        "colqwen2": (_VLM_PATH,),
        "dia": (("decoder_config",),),
        "qwen2_5_omni": (_THINKER_PATH,),
        "qwen3_omni_moe": (_THINKER_PATH,),
        "t5gemma": (("decoder",),),
        "t5gemma2": (("decoder",),),
        "unlimited_ocr": (_TEXT_PATH, ("language_config",)),
    }
)


def text_paths(model_type: object) -> tuple[tuple[str, ...], ...]:
    """Return the ways to the config of a model's text model, each as keys."""
    paths = _TEXT_PATHS.get(model_type) if isinstance(model_type, str) else None
    return paths or (_TEXT_PATH,)
