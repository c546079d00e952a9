"""`ropescale plan`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.scaling import RopeScaling

Ropescale = Callable[..., tuple[int, str, str]]
OnStdin = Callable[[str | bytes], None]
CONFIGS = Path(__file__).parent.parent / "fixtures" / "configs"
QWEN3 = CONFIGS / "qwen3-8b.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(QWEN3.read_text())
    return tmp_path


def test_text(ropescale: Ropescale) -> None:
    code, out, err = ropescale("plan", str(QWEN3), "--target-length", "131072")
    assert (code, err) == (0, "")
    assert out.startswith("Scaling is needed: 131,072 tokens are 4 times the 32,768")
    for part in ("vllm serve MODEL --hf-overrides", "--max-model-len 131072", "--rope-scale 4.0",
                 "18.00 GiB in bfloat16", "would give 3.2", '"rope_parameters"',
                 '"rope_scaling"', "RotaryTable([unscaled, scaled])"):  # fmt: skip
        assert part in out
    # A command that is folded cannot be pasted.
    assert len([line for line in out.splitlines() if "--max-model-len" in line]) == 1


@pytest.mark.parametrize(
    ("text", "tokens"), [("128k", 2**17), ("1M", 2**20), ("1.5m", 3 * 2**19), ("40960", 40960)]
)
def test_lengths_in_units(ropescale: Ropescale, text: str, tokens: int) -> None:
    out = ropescale("plan", str(QWEN3), "--target-length", text, "--json", "-")[1]
    assert json.loads(out)["target_length"] == tokens


def test_nothing_to_do(ropescale: Ropescale, model: Path) -> None:
    before = (model / "config.json").read_bytes()
    code, out, _ = ropescale("plan", str(model), "--target-length", "32768", "--write")
    assert code == 0
    assert "No scaling is needed" in out
    assert "nothing has to change" in out
    assert (model / "config.json").read_bytes() == before
    assert len(list(model.iterdir())) == 1


def test_json(ropescale: Ropescale, on_stdin: OnStdin) -> None:
    on_stdin(QWEN3.read_text())
    code, out, _ = ropescale("plan", "-", "--target-length", "131072", "--json", "-")
    found = json.loads(out)
    assert code == 0
    assert found["needed"] is True
    assert found["planned"]["factor"] == 4.0
    assert found["kv_cache"]["bytes"] == 18 * 2**30
    assert found["lengths"]["source"] == "the model card of qwen3"
    assert found["commands"]["llama.cpp"].startswith("llama-server")
    assert found["backup"] is None


@pytest.mark.parametrize(("count", "said"), [(1, "1 layer keeps all"), (2, "2 layers keep all")])
def test_one_layer_is_no_plural(
    ropescale: Ropescale, on_stdin: OnStdin, count: int, said: str
) -> None:
    raw = json.loads(QWEN3.read_text()) | {"num_hidden_layers": count}
    on_stdin(json.dumps(raw))
    assert said in ropescale("plan", "-", "--target-length", "4096")[1]


def test_write(ropescale: Ropescale, model: Path) -> None:
    config = model / "config.json"
    old = config.read_bytes()
    code, out, _ = ropescale("plan", str(model), "--target-length", "131072", "--write")
    assert code == 0
    assert f"wrote {config}; the old file is {config}.bak" in out
    assert (model / "config.json.bak").read_bytes() == old
    scaling = RopeScaling.from_hf_config(model)
    assert scaling.factor == 4.0
    assert json.loads(config.read_text())["max_position_embeddings"] == 131072
    # Planned again, it is already there.
    again = ropescale("plan", str(model), "--target-length", "131072", "--write")[1]
    assert "No scaling is needed" in again
    assert "already scaled by 4" in again


@pytest.mark.parametrize("name", ["llama-3.1-8b", "phi-4-mini-instruct", "phi-4"])
def test_what_it_does_not_understand_is_not_written(
    ropescale: Ropescale, model: Path, name: str
) -> None:
    config = model / "config.json"
    config.write_text((CONFIGS / f"{name}.json").read_text())
    before = config.read_bytes()
    code, out, err = ropescale("plan", str(model), "--target-length", "1000000", "--write")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "_type: expected" in line
    assert config.read_bytes() == before
    assert len(list(model.iterdir())) == 1


@pytest.mark.parametrize("content", [b'{"a": "\\ud800"', QWEN3.read_text().encode("utf-16")])
def test_a_file_that_cannot_be_written_again_is_left_alone(
    ropescale: Ropescale, model: Path, content: bytes
) -> None:
    config = model / "config.json"
    if content.startswith(b"{"):
        # Beside a letter of more than one byte, which is then written as it is.
        content = QWEN3.read_bytes().replace(b"{", content + ', "é": 1, '.encode(), 1)
    config.write_bytes(content)
    code, _, err = ropescale("plan", str(model), "--target-length", "128k", "--write")
    assert code == 2
    assert "config: expected UTF-8 and finite numbers to write" in err
    assert config.read_bytes() == content
    assert len(list(model.iterdir())) == 1


def test_a_deep_config_is_no_traceback(ropescale: Ropescale, on_stdin: OnStdin) -> None:
    raw = QWEN3.read_text().replace("{", '{"x": ' + "[" * 600 + "]" * 600 + ", ", 1)
    on_stdin(raw)
    assert ropescale("plan", "-", "--target-length", "128k")[0] == 0


def test_stdin_cannot_be_written(ropescale: Ropescale) -> None:
    code, _, err = ropescale("plan", "-", "--target-length", "131072", "--write")
    assert code == 2
    assert "expected a file or a folder to write to, got stdin" in err


def test_a_length_given_wins(ropescale: Ropescale) -> None:
    out = ropescale("plan", str(QWEN3), "--target-length", "131072", "--original-length", "40960",
                    "--json", "-")[1]  # fmt: skip
    assert json.loads(out)["planned"]["factor"] == 3.2


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"rope_scalling": {"factor": 4.0}},
            "rope_scalling: expected a rope key that has",
        ),
        ({"model_type": "new_one"}, "model_type: expected a known model type, to rewrite"),
    ],
)
def test_what_is_not_understood_is_not_rewritten(
    ropescale: Ropescale, model: Path, keys: dict[str, Any], said: str
) -> None:
    config = model / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **keys}))
    before = config.read_bytes()
    code, _, err = ropescale("plan", str(model), "--target-length", "128k", "--write")
    assert code == 2
    assert said in err
    assert config.read_bytes() == before
    # What to do is told all the same.
    assert ropescale("plan", str(model), "--target-length", "128k")[0] == 0


@pytest.mark.parametrize("command", [["plan", "--target-length", "128k"], ["inspect"]])
def test_the_config_is_no_place_for_the_answer(
    ropescale: Ropescale, model: Path, command: list[str]
) -> None:
    config = model / "config.json"
    before = config.read_bytes()
    code, _, err = ropescale(command[0], str(model), *command[1:], "--json", str(config))
    assert code == 2
    assert "expected another file than the config" in err
    assert config.read_bytes() == before


@pytest.mark.parametrize("name", [None, "my_deepseek"])
def test_commands_for_an_unknown_model_type_stand_below_what_is_assumed(
    ropescale: Ropescale, tmp_path: Path, name: str | None
) -> None:
    raw = json.loads((CONFIGS / "deepseek-v3.json").read_text())
    known = tmp_path / "known.json"
    known.write_text(json.dumps(raw))
    raw["model_type"] = name
    config = tmp_path / "config.json"
    config.write_text(json.dumps(raw))
    for target in ("64k", "256k"):
        command = ("--target-length", target)
        out = ropescale("plan", str(config), *command)[1]
        sentence = "These commands rest on assumptions. model_type: expected a known model type"
        assert out.count("Read by its keys: qk_rope_head_dim 64 gives 64 rotary channels") == 1
        assert 0 < out.index(sentence) < out.index("vllm serve")
        assert "rest on assumptions" not in ropescale("plan", str(known), *command)[1]
        found, of_known = (
            json.loads(ropescale("plan", str(x), *command, "--json", "-")[1])
            for x in (config, known)
        )
        assert of_known["assumed"] == ""
        assert found["assumed"] in found["warnings"]
        assert found["assumed"] in out
        fingerprints = [x["planned"].pop("fingerprint") for x in (found, of_known)]
        assert found["planned"] == of_known["planned"]
        assert len(fingerprints) == 2
