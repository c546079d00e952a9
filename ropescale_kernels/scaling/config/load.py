"""A dict, a path, a stream or a config object becomes one mapping of keys, unchanged."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Protocol, TextIO, runtime_checkable

from ...errors import RopeScaleConfigError, RopeScaleTypeError, expected
from .. import validate as check

# The largest published configs are below 1 MiB; a file is untrusted and read whole.
_MAX_BYTES = 64 * 2**20


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
        loaded = _read(pathlib.Path(config))
    elif isinstance(config, HasToDict) and not isinstance(config, type):
        loaded = config.to_dict()
    else:
        requirement = "a dict, a path, or a config object with to_dict()"
        raise RopeScaleTypeError(expected("config", requirement, type(config).__name__))
    return _keys(loaded)


def read_config(stream: TextIO, name: str) -> Mapping[str, object]:
    """Return the keys of a config from an open stream.

    Args:
        stream: Holds a JSON object; no more is read than of a file.
        name: Name of the stream in messages.

    Raises:
        RopeScaleConfigError: If the stream holds no JSON object, or one with a key twice.
    """
    try:
        loaded = _parsed(stream.read(_MAX_BYTES))
    except RopeScaleConfigError:
        raise
    except (ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {error}"
        raise RopeScaleConfigError(expected("config", f"valid JSON on {name}", got)) from error
    return _keys(loaded)


def _parsed(text: str | bytes) -> object:
    return json.loads(text, object_pairs_hook=_once_each)


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


def _read(path: pathlib.Path) -> object:
    try:
        file = path / "config.json" if path.is_dir() else path
        if not file.is_file():
            got = f"{path}, a folder without one" if path.is_dir() else str(path)
            requirement = "the path of a JSON file or of a folder with config.json"
            raise RopeScaleConfigError(expected("config", requirement, got))
        size = file.stat().st_size
        if size > _MAX_BYTES:
            requirement = f"a file of at most {_MAX_BYTES} bytes"
            raise RopeScaleConfigError(expected("config", requirement, f"{size} bytes in {file}"))
        return _parsed(file.read_bytes())
    except OSError as error:
        raise RopeScaleConfigError(expected("config", "a readable path", str(error))) from error
    except RopeScaleConfigError:
        raise
    except (ValueError, RecursionError) as error:
        got = f"{path} ({type(error).__name__}: {error})"
        raise RopeScaleConfigError(expected("config", "a file of valid JSON", got)) from error
