"""Writing a config: all or nothing, the old one kept, everything else as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ropescale_kernels.errors import RopeScaleConfigError
from ropescale_kernels.planner import edit_config

OLD = {"b": 1e-06, "a": "é", "rope_theta": 1e6, "rope_scaling": None, "list": [1, 2]}
ROPE = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(OLD, indent=4, ensure_ascii=False))
    path.chmod(0o640)
    return path


def test_written_at_once_with_a_backup(file: Path) -> None:
    before = file.read_bytes()
    new = edit_config.with_rope_parameters(OLD, ROPE, {}, None, rope_parameters=False)
    backup = edit_config.write(file, before, new)
    assert backup.name == "config.json.bak"
    assert backup.read_bytes() == before
    assert json.loads(file.read_text()) == new
    assert list(new) == list(OLD)
    # The look of the file stays: indentation, letters, numbers, permissions.
    assert '\n    "a": "é",\n' in file.read_text()
    assert "1e-06" in file.read_text()
    assert file.stat().st_mode & 0o777 == backup.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in file.parent.iterdir()) == ["config.json", "config.json.bak"]


def test_no_backup_is_overwritten(file: Path) -> None:
    names = [edit_config.write(file, edit_config.read(file), {"round": i}).name for i in range(3)]
    assert names == ["config.json.bak", "config.json.bak2", "config.json.bak3"]
    assert json.loads(file.with_name(names[0]).read_text()) == OLD
    assert json.loads(file.with_name(names[2]).read_text()) == {"round": 1}


def test_a_link_is_refused(file: Path) -> None:
    link = file.with_name("link.json")
    link.symlink_to(file)
    with pytest.raises(RopeScaleConfigError, match=r"config: .*a link to .*Copy the folder"):
        edit_config.read(link)
    assert json.loads(file.read_text()) == OLD


def test_a_hard_link_is_refused(file: Path) -> None:
    os.link(file, file.with_name("other.json"))
    with pytest.raises(RopeScaleConfigError, match=r"config: .*a hard link. Copy the folder"):
        edit_config.read(file)


def test_a_file_that_changed_in_between_is_left_alone(file: Path) -> None:
    old = edit_config.read(file)
    file.write_text('{"a": 2}')
    with pytest.raises(RopeScaleConfigError, match=r"config: expected the file that was read"):
        edit_config.write(file, old, {})
    assert file.read_text() == '{"a": 2}'
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_not_written(file: Path, value: float) -> None:
    with pytest.raises(RopeScaleConfigError, match=r"config: .*ValueError"):
        edit_config.write(file, file.read_bytes(), {"a": value})
    assert json.loads(file.read_text()) == OLD


@pytest.mark.parametrize("call", ["fsync", "chmod"])
def test_a_failure_leaves_the_file_as_it_was(
    file: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(edit_config.os, call, fail)
    with pytest.raises(OSError, match="No space"):
        edit_config.write(file, file.read_bytes(), {})
    assert json.loads(file.read_text()) == OLD
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_a_failure_after_the_backup_leaves_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.replace

    def fail(source: str, target: Path) -> None:
        if target == file:
            raise OSError(5, "Input/output error")
        whole(source, target)

    monkeypatch.setattr(edit_config.os, "replace", fail)
    with pytest.raises(OSError, match="Input"):
        edit_config.write(file, file.read_bytes(), {})
    assert json.loads(file.read_text()) == OLD
    assert sorted(path.name for path in file.parent.iterdir()) == ["config.json", "config.json.bak"]


def test_nested_parameters_keep_their_neighbours() -> None:
    nested = {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_theta": 1e4}}
    config = {"text_config": {"rope_parameters": nested, "x": 1}, "y": 2}
    new = edit_config.with_rope_parameters(
        config, ROPE, {"m": 3}, "full_attention", rope_parameters=True
    )
    text = new["text_config"]
    assert isinstance(text, dict)
    assert text["rope_parameters"] == {**nested, "full_attention": ROPE}
    assert (text["x"], text["m"], new["y"]) == (1, 3, 2)
    # Nothing of the given config moved.
    assert config["text_config"] == {"rope_parameters": nested, "x": 1}
    assert edit_config.changes(config, new) == {
        "text_config": {"m": 3, "rope_parameters": text["rope_parameters"]}
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"a": 1}', '{"a": 2, "b": ["\\u00e9"]}'),
        ('{"a": "é"}\n', '{"a": 2, "b": ["é"]}\n'),
        ('{\n\t"a": 1\n}', '{\n\t"a": 2,\n\t"b": [\n\t\t"\\u00e9"\n\t]\n}'),
        ('{\r\n   "a": 1\r\n}\r\n',
         '{\r\n   "a": 2,\r\n   "b": [\r\n      "\\u00e9"\r\n   ]\r\n}\r\n'),
    ],
)  # fmt: skip
def test_style_stays(file: Path, old: str, new: str) -> None:
    file.write_bytes(old.encode())
    edit_config.write(file, old.encode(), {"a": 2, "b": ["é"]})
    assert file.read_bytes().decode() == new
