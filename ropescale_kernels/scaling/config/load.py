"""A dict, a path, a stream or a config object becomes one mapping of keys, unchanged."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import BinaryIO, Protocol, runtime_checkable

from ...errors import RopeScaleConfigError, RopeScaleTypeError, expected
from .. import validate as check
from .other_files import IN_FOLDERS, refuse_no_json

# The largest published configs are below 1 MiB; a file is untrusted and read whole.
_MAX_BYTES = 64 * 2**20
# Enough of a file to tell what it is.
_START = 64
# A repository of the Hugging Face Hub.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?<!\.json)(?<!\.gguf)")


@runtime_checkable
class HasToDict(Protocol):
    """A config object, such as Transformers' `PreTrainedConfig`."""

    def to_dict(self) -> dict[str, object]:
        """Return the config's keys and values."""


def load_config(config: object) -> Mapping[str, object]:
    """Return the keys of a config.

    Args:
        config: A mapping, the path of a JSON file or of a folder with a config.json, or an object
            with `to_dict()`.

    Returns:
        The top-level mapping; a mapping that was given is returned itself.

    Raises:
        RopeScaleTypeError: If `config` is of another kind.
        RopeScaleConfigError: If a path holds no readable JSON object, or one with a key twice.
    """
    if isinstance(config, Mapping):
        return config
    if isinstance(config, (str, os.PathLike)):
        return _read(config)
    if isinstance(config, HasToDict) and not isinstance(config, type):
        return _keys(config.to_dict())
    requirement = "a dict, a path, or a config object with to_dict()"
    raise RopeScaleTypeError(expected("config", requirement, type(config).__name__))


def read_config(stream: BinaryIO, name: str) -> Mapping[str, object]:
    """Return the keys of a config from an open stream.

    Args:
        stream: Holds a JSON object; no more is read than of a file.
        name: Name of the stream in messages.

    Raises:
        RopeScaleConfigError: If the stream holds no JSON object, or one with a key twice.
    """
    content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        requirement = f"at most {_MAX_BYTES} bytes"
        raise RopeScaleConfigError(expected("config", requirement, f"more on {name}"))
    return _parsed(content, name)


def _parsed(content: bytes, source: str) -> Mapping[str, object]:
    refuse_no_json(content, source)
    try:
        # json.loads reads UTF-8, UTF-16 and UTF-32, with and without a byte-order mark.
        loaded = json.loads(content, object_pairs_hook=_once_each)
    except RopeScaleConfigError:
        raise
    except (ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {error} in {source}"
        raise RopeScaleConfigError(expected("config", "valid JSON", got)) from error
    return _keys(loaded)


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            got = f"{check.shown(found[name])} and {check.shown(value)}"
            raise RopeScaleConfigError(expected(check.shown(name)[1:-1], "one value", got))
        found[name] = value
    return found


def _keys(loaded: object) -> Mapping[str, object]:
    if not isinstance(loaded, Mapping):
        raise RopeScaleConfigError(
            expected("config", "an object of keys and values", type(loaded).__name__)
        )
    return loaded


def config_file(config: str | os.PathLike[str]) -> pathlib.Path:
    """Return the file of a config, which a folder holds as config.json.

    Raises:
        RopeScaleConfigError: If there is no such file.
        OSError: If the file system refuses to look.
    """
    path = pathlib.Path(config)
    requirement = "the path of a JSON file or of a folder with config.json"
    text = os.fspath(config)
    if text and path.is_dir():
        if (file := path / "config.json").is_file():
            return file
        hints = [hint for name, hint in IN_FOLDERS.items() if (path / name).is_file()]
        got = f"a folder without one, {text}"
        raise RopeScaleConfigError(expected("config", requirement, got, "".join(hints[:1])))
    if path.is_file():
        return path
    hint = ""
    if text.lstrip().startswith("{"):
        hint = "JSON text is passed as json.loads(text)."
    elif "://" in text:
        hint = "Download the file first."
    elif _HUB_ID.fullmatch(text) and not path.parent.exists():
        call = f"huggingface_hub.hf_hub_download({text!r}, 'config.json')"
        hint = f"A model of the Hugging Face Hub is downloaded first: {call} returns the path."
    raise RopeScaleConfigError(expected("config", requirement, text or repr(text), hint))


def _read(config: str | os.PathLike[str]) -> Mapping[str, object]:
    try:
        file = config_file(config)
        size = file.stat().st_size
        if size > _MAX_BYTES:
            with file.open("rb") as opened:
                refuse_no_json(opened.read(_START), str(file))
            requirement = f"a file of at most {_MAX_BYTES} bytes"
            raise RopeScaleConfigError(expected("config", requirement, f"{size} bytes in {file}"))
        content = file.read_bytes()
    except RopeScaleConfigError:
        raise
    except (OSError, ValueError) as error:
        # A ValueError is a path that no system takes, such as one with a null character.
        raise RopeScaleConfigError(expected("config", "a readable path", str(error))) from error
    return _parsed(content, str(file))
