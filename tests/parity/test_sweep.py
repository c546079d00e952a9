"""Every model type of the installed Transformers, held against its own rotary class."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.scaling.config import model_config
from ropescale_kernels.scaling.config.model_types import MODEL_TYPES
from ropescale_kernels.scaling.config.model_types.composites import TEXT_TYPES
from ropescale_kernels.scaling.config.model_types.without_rope import (
    MODEL_TYPES_WITH_SEVERAL_POSITIONS,
    MODEL_TYPES_WITHOUT_ROPE,
)
from tools.pages.marks import ROOT
from tools.sweep import compare, forms, rotary, table
from tools.sweep.listed import LISTED, SEVERAL_POSITIONS, WITHOUT_A_CLASS

RELEASE, ENTRIES = table.committed()
# A plain model, nested layers of each kind, a multimodal model of another type, deep parts, a
# switch, a model without rotation, an encoder of images.
SAMPLE = [
    "llama", "deepseek_v4", "gemma4_unified_text", "mimo_v2_flash", "step3p7", "mistral_large4",
    "phimoe", "ernie4_5_vl_moe_text", "llava", "qwen2_5_omni", "zamba2", "bert", "pixtral",
]  # fmt: skip
# The equal model types of each form. The numbers only grow.
LEAST_EQUAL = {"default": 297, "bare": 305, "base": 303, "yarn": 268, "linear": 279}
# Parts of these models rotate. The type of each part has a row, or is named as one without.
ROTATING_PARTS = {
    "blt", "chmv2", "deepseek_ocr2_vision", "lasr_ctc", "nemo_speechlm",
    "nemotron3_5_transcribe_audio", "nemotron3_diarization", "pi0", "qwen2_5_omni_token2wav",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _release() -> None:
    """Leave the tests out with another release than the table's."""
    transformers = pytest.importorskip("transformers", minversion="5.20")
    if transformers.__version__ != RELEASE:
        pytest.skip(f"The table is of Transformers {RELEASE}, not of {transformers.__version__}.")


def sweep(names: list[str]) -> dict[str, dict[str, compare.Outcome]]:
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {name: table.outcomes(name) for name in names}
    finally:
        logging.set_verbosity(before)


def different(found: dict[str, dict[str, compare.Outcome]]) -> dict[str, Any]:
    return {
        name: outcomes
        for name, outcomes in found.items()
        if table.entry(outcomes) != ENTRIES.get(name)
    }


def test_the_table_is_of_the_pinned_release() -> None:
    pins = (ROOT / "constraints.txt").read_text().split()
    assert f"transformers=={RELEASE}" in pins, "Run python -m tools.sweep."


def test_a_sample() -> None:
    assert not different(sweep(SAMPLE))


@pytest.mark.slow
def test_every_model_type() -> None:
    names = table.model_types()
    assert set(names) == set(ENTRIES), "Run python -m tools.sweep."
    assert not different(sweep(names))


def test_every_form_is_equal_or_refused_or_listed() -> None:
    counts = table.counts(ENTRIES)
    assert {form: counts[form, compare.EQUAL] for form in LEAST_EQUAL} == LEAST_EQUAL
    wrong = (compare.DIFFERS, compare.REFUSED, compare.SEVERAL_READ, compare.NONE_SILENT)
    assert not table.unlisted(ENTRIES, wrong)
    found = {(name, form): kind for name, form, kind in table.forms_of(ENTRIES)}
    listed = table.listed_forms()
    assert len(listed) <= 15
    assert {found[each] for each in listed} == {compare.DIFFERS, compare.REFUSED}


def test_what_has_no_rotary_embedding_is_refused() -> None:
    warned = table.unlisted(ENTRIES, [compare.NONE_WARNED])
    assert {name for name, _, _ in warned} <= ROTATING_PARTS
    none = {name for name, _, kind in table.forms_of(ENTRIES) if kind == compare.NONE_REFUSED}
    switched = {name for name, row in MODEL_TYPES.items() if row.rotates_if is not None}
    assert none - ROTATING_PARTS == (MODEL_TYPES_WITHOUT_ROPE | switched) & none
    assert none >= MODEL_TYPES_WITHOUT_ROPE
    several = {name for name, entry in ENTRIES.items() if entry == compare.SEVERAL_REFUSED}
    assert several | {"lightglue", "vjepa2"} == MODEL_TYPES_WITH_SEVERAL_POSITIONS


def test_every_rotating_type_has_a_row() -> None:
    rotating = {name for name, _, kind in table.forms_of(ENTRIES) if kind == compare.EQUAL}
    assert rotating <= MODEL_TYPES.keys() | TEXT_TYPES.keys()
    assert set(TEXT_TYPES.values()) <= MODEL_TYPES.keys()
    assert not MODEL_TYPES.keys() & (MODEL_TYPES_WITHOUT_ROPE | MODEL_TYPES_WITH_SEVERAL_POSITIONS)


def test_the_lines_of_the_list_are_in_the_classes() -> None:
    import transformers

    models = Path(transformers.__file__).parent / "models"
    for each in LISTED:
        text = (models / each.file).read_text()
        assert f"class {each.name}(" in text
        assert each.line in text
    texts = {path: path.read_text() for path in models.glob("*/modeling_*.py")}
    for name, line in SEVERAL_POSITIONS.items():
        assert any(f"class {name}(" in text and line in text for text in texts.values()), name
    for name in WITHOUT_A_CLASS:
        assert not rotary.places(forms.subject(name).config_class)
        (path,) = (models / name).glob("modeling_*.py")
        assert "rotary" in texts[path] or "rotate" in texts[path]


@pytest.mark.parametrize(
    ("model_type", "change"),
    [
        ("lfm2", {"defaults": {"rope_theta": 1e5}}),
        ("glm4", {"defaults": {"partial_rotary_factor": 1.0, "head_dim": 128}}),
        ("deepseek_v4", {"layers": {"main": MODEL_TYPES["deepseek_v4"].layers["main"]}}),
    ],
)
def test_a_wrong_row_is_found(
    model_type: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep([model_type])[model_type]["bare"].kind == compare.EQUAL
    wrong = dataclasses.replace(MODEL_TYPES[model_type], **change)
    monkeypatch.setattr(model_config, "MODEL_TYPES", {**MODEL_TYPES, model_type: wrong})
    found = different(sweep([model_type]))
    assert found[model_type]["bare"].kind in (compare.DIFFERS, compare.REFUSED)


def test_a_wrong_attention_factor_is_found() -> None:
    subject = forms.subject("qwen3")
    form = next(form for form in subject.forms() if form.name == "yarn")
    assert compare.compare(form, compare.rotary_of(subject)).kind == compare.EQUAL
    (raw,) = form.given
    other = {**raw, "rope_scaling": {**raw["rope_scaling"], "attention_factor": 1.5}}
    form = dataclasses.replace(form, given=(other,))
    found = compare.compare(form, compare.rotary_of(subject))
    assert found.kind == compare.DIFFERS
    assert "factor 1.5" in found.detail


def test_a_model_without_its_row_is_read_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_config, "MODEL_TYPES", {})
    (found,) = sweep(["llama"]).values()
    assert found["bare"].kind == compare.EQUAL
    (found,) = sweep(["mistral_large4_text"]).values()
    assert found["bare"].kind == compare.DIFFERS
