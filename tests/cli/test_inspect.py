"""`ropescale inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Ropescale = Callable[..., tuple[int, str, str]]
OnStdin = Callable[[str | bytes], None]
CONFIGS = Path(__file__).parent.parent / "fixtures" / "configs"
R1 = str(CONFIGS / "deepseek-r1-0528-qwen3-8b.json")


def test_text(ropescale: Ropescale) -> None:
    code, out, err = ropescale("inspect", R1)
    assert (code, err) == (0, "")
    for part in ("attention_factor", "1.138629436", "kept", "blended", "interpolated", "vLLM 0.32"):
        assert part in out
    (sglang,) = [line for line in out.splitlines() if line.strip().startswith("sglang ")]
    assert "1 *" in sglang
    assert "hf, hf-4.51, hf-4.45, vllm, deepseek: rope_scaling['attn_factor']" in out
    pairs = [line for line in out.splitlines() if line.split()[-1:] == ["interpolated"]]
    assert len(pairs) == 24
    # The long table comes last, so that the summary and the warnings are seen first.
    order = [out.index(title) for title in ("Scaling in dialect hf", "Warnings", "Pairs (")]
    assert order == sorted(order)


def test_json_has_everything(ropescale: Ropescale, tmp_path: Path) -> None:
    code, out, _ = ropescale("inspect", R1, "--json", "-")
    (found,) = json.loads(out)
    assert code == 0
    assert found["numbers"]["attention_factor"] == 1.138629436111989
    assert len(found["pairs"]) == 64
    assert {reading["dialect"] for reading in found["readings"]} >= {"hf", "vllm", "sglang"}
    target = tmp_path / "found.json"
    assert ropescale("inspect", R1, "--json", str(target))[0] == 0
    assert json.loads(target.read_text()) == [found]


def test_folder_and_stdin(ropescale: Ropescale, tmp_path: Path, on_stdin: OnStdin) -> None:
    want = ropescale("inspect", R1)[1]
    (tmp_path / "config.json").write_text(Path(R1).read_text())
    assert ropescale("inspect", str(tmp_path))[1] == want
    on_stdin(Path(R1).read_text())
    assert ropescale("inspect", "-")[1] == want


def test_layer_types_one_by_one_or_all(ropescale: Ropescale) -> None:
    gemma = str(CONFIGS / "gemma-3-4b-it.json")
    both = ropescale("inspect", gemma)[1]
    assert "dialect hf, layers of type full_attention" in both
    assert "dialect hf, layers of type sliding_attention" in both
    one = ropescale("inspect", gemma, "--layer-type", "full_attention")[1]
    assert "sliding_attention" not in one
    code, _, err = ropescale("inspect", gemma, "--layer-type", "other")
    assert code == 2
    assert "layer_type: expected one of" in err


def test_another_dialects_numbers(ropescale: Ropescale) -> None:
    out = ropescale("inspect", R1, "--dialect", "sglang", "--json", "-")[1]
    (found,) = json.loads(out)
    assert (found["dialect"], found["numbers"]["attention_factor"]) == ("sglang", 1.0)


def test_picture(ropescale: Ropescale, tmp_path: Path) -> None:
    picture = tmp_path / "ramp.png"
    code, _, err = ropescale("inspect", R1, "--plot", str(picture))
    assert (code, err) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_picture_of_another_kind_is_refused(ropescale: Ropescale, tmp_path: Path) -> None:
    code, _, err = ropescale("inspect", R1, "--plot", str(tmp_path / "ramp.xyz"))
    assert code == 2
    assert "--plot: expected a file name that ends in .png, .svg or .pdf, got" in err


@pytest.mark.parametrize("source", ["/nonexistent/config.json", "/"])
def test_no_config_is_one_line(ropescale: Ropescale, source: str) -> None:
    code, out, err = ropescale("inspect", source)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "config: expected" in line
    assert source in line


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '{"a": 1', "[" * 100_000])
def test_bad_json_on_stdin_is_one_line(ropescale: Ropescale, text: str, on_stdin: OnStdin) -> None:
    on_stdin(text)
    code, out, err = ropescale("inspect", "-")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "config: expected" in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_on_stdin_changes_nothing(
    ropescale: Ropescale, encoding: str, on_stdin: OnStdin
) -> None:
    want = ropescale("inspect", R1)[1]
    on_stdin(Path(R1).read_text().encode(encoding))
    assert ropescale("inspect", "-") == (0, want, "")


def test_stdin_that_is_closed_is_one_line(
    ropescale: Ropescale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    code, _, err = ropescale("inspect", "-")
    assert code == 2
    assert "CONFIG: expected a config on stdin, found stdin closed" in err


def test_stdin_is_not_read_without_end(
    ropescale: Ropescale, on_stdin: OnStdin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ropescale_kernels.scaling.config.load._MAX_BYTES", 2**10)
    on_stdin(b" " * 2**11)
    code, _, err = ropescale("inspect", "-")
    assert code == 2
    assert "config: expected at most 1024 bytes, got more on stdin" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "Qwen/Qwen3-8B"],
        ["plan", "Qwen/Qwen3-8B", "--target-length", "128k"],
        ["plan", "Qwen/Qwen3-8B", "--target-length", "128k", "--write"],
    ],
)
def test_a_repository_of_the_hub_is_one_line_with_a_hint(
    ropescale: Ropescale, arguments: list[str]
) -> None:
    code, out, err = ropescale(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "huggingface_hub.hf_hub_download('Qwen/Qwen3-8B', 'config.json')" in line


def test_another_file_is_one_line(ropescale: Ropescale, tmp_path: Path, on_stdin: OnStdin) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text('{"peft_type": "LORA", "base_model_name_or_path": "Qwen/Qwen3-8B"}')
    on_stdin(file.read_text())
    for arguments in (
        ["inspect", str(file)],
        ["inspect", "-"],
        ["plan", str(file), "--target-length", "128k", "--write"],
    ):
        code, out, err = ropescale(*arguments)
        assert (code, out) == (2, "")
        (line,) = err.splitlines()
        assert "Give the config of its base model, 'Qwen/Qwen3-8B'" in line
    assert [*tmp_path.iterdir()] == [file]


def test_names_are_shown_as_they_are(ropescale: Ropescale, on_stdin: OnStdin) -> None:
    raw = {"head_dim": 64, "rope_parameters": {"[bold]\x1b[31mx": {"rope_type": "default"}}}
    on_stdin(json.dumps(raw))
    code, out, _ = ropescale("inspect", "-")
    assert code == 0
    assert "[bold]" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("keys", "fact"),
    [
        ({"model_type": "my_own"}, "got 'my_own'. Read by its keys: head_dim 128 gives 128 rotary"),
        ({"model_type": None}, "got no such key. Read by its keys: head_dim 128 gives 128 rotary"),
    ],
)
def test_what_is_assumed_of_an_unknown_model_type(
    ropescale: Ropescale, tmp_path: Path, keys: dict[str, str | None], fact: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(Path(R1).read_text()), **keys}))
    out = " ".join(ropescale("inspect", str(config))[1].split())
    assert f"original: model_type: expected a known model type, {fact}" in out
    (found,) = json.loads(ropescale("inspect", str(config), "--json", "-")[1])
    assert fact in found["warnings"][0]
    assert "model_type" not in ropescale("inspect", R1)[1]
