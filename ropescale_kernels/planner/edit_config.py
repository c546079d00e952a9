"""The keys of a planned config for each reader, and the config file with them."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import RopeScaleConfigError, expected
from ..scaling.config.dialects import BASELINE, DIALECTS
from ..scaling.config.model_config import ModelConfig
from ..scaling.rules.extension import Extension


def keys_to_set(
    model: ModelConfig,
    extension: Extension | None,
    top: Mapping[str, object],
    *,
    rope_parameters: bool,
    in_file: bool = False,
) -> dict[str, object]:
    """Return the keys to set, inside `text_config` if the config has one.

    Args:
        model: The model's config.
        extension: The new rope parameters, or None to leave the old ones.
        top: Other keys of the text model to set.
        rope_parameters: Whether to use the key of Transformers 5, else `rope_scaling`.
        in_file: Whether the keys go into the config's file, which keeps its other keys.
    """
    keys: dict[str, object] = dict(top)
    if in_file and extension is not None and model.rope.config.get("rope_scaling"):
        # In a file that has both keys, rope_scaling wins.
        keys = {"rope_scaling": None, **keys}
    if extension is not None and rope_parameters:
        layer_type = model.main_layer_type
        others = {
            name: _layer_type_parameters(model, name)
            for name in model.layer_types
            if name is not None
        }
        # If layer types differ, each needs an entry, because a flat dict holds for all layers.
        keys["rope_parameters"] = (
            {**others, layer_type: extension.rope} if layer_type is not None else extension.rope
        )
    elif extension is not None:
        rope = dict(extension.rope)
        keys["rope_theta"] = rope.pop("rope_theta")
        keys["rope_scaling"] = rope
    return {"text_config": keys} if keys and model.has_text_config else keys


def keys_of_loaded_config(model: ModelConfig, keys: dict[str, object]) -> dict[str, object]:
    """Return the keys of Transformers 5 as set on a loaded config object."""
    # A class such as Qwen2-VL's builds a text config from a flat file.
    nests = model.facts.builds_text_config and not model.has_text_config
    return {"text_config": keys} if keys and nests else keys


def _layer_type_parameters(model: ModelConfig, layer_type: str) -> dict[str, object]:
    entry = model.entry(DIALECTS[BASELINE], layer_type)
    return {**entry.parameters, "rope_type": entry.rope_type}


def with_rope_parameters(
    config: Mapping[str, object],
    rope: Mapping[str, object] | None,
    top: Mapping[str, object],
    layer_type: str | None,
    *,
    rope_parameters: bool,
    theta_key: str = "rope_theta",
) -> dict[str, object]:
    """Return a copy of a config with other rope parameters and other keys of the text model.

    Args:
        config: A model's config, possibly multimodal, which is not changed.
        rope: The new rope parameters, `rope_theta` among them, or None to leave the old ones.
        top: Other keys of the text model to set.
        layer_type: The entry of nested rope parameters to replace, or None.
        rope_parameters: Whether to write the key of Transformers 5, else `rope_scaling`.
        theta_key: Top-level key of the base.

    Returns:
        The new config. Other keys and the order of keys are kept.
    """
    result = dict(config)
    nested = result.get("text_config")
    text: dict[str, object] = {**(nested if isinstance(nested, Mapping) else result), **top}
    if rope is not None:
        key = "rope_parameters" if rope_parameters else "rope_scaling"
        _put(text, key, rope, layer_type, theta_key)
    if isinstance(nested, Mapping):
        return {**result, "text_config": text}
    return text


def _put(
    text: dict[str, object],
    key: str,
    rope: Mapping[str, object],
    layer_type: str | None,
    theta_key: str,
) -> None:
    old = text.get(key)
    if isinstance(old, Mapping) and layer_type is not None and layer_type in old:
        text[key] = {**old, layer_type: dict(rope)}
    elif key == "rope_parameters":
        text[key] = dict(rope)
    else:
        text[key] = {name: value for name, value in rope.items() if name != "rope_theta"}
        if text.get(theta_key) is None:
            # The base stood among the old parameters, or the class supplied both.
            text[theta_key] = rope["rope_theta"]


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the new values of keys that differ; inside `text_config` for the text model."""
    found = {key: value for key, value in after.items() if before.get(key, ...) != value}
    inner = (before.get("text_config"), after.get("text_config"))
    if isinstance(inner[0], Mapping) and isinstance(inner[1], Mapping) and "text_config" in found:
        found["text_config"] = changes(inner[0], inner[1])
    return found


def read(path: Path) -> bytes:
    """Return a config file's bytes, to be given to `write`.

    Raises:
        RopeScaleConfigError: If the file is a link, because other folders may share the target.
        OSError: If the file cannot be read.
    """
    if path.is_symlink() or path.stat().st_nlink > 1:
        link = f"a link to {os.readlink(path)}" if path.is_symlink() else "a hard link"
        requirement = "a file of its own to write"
        hint = "Copy the folder first: caches share such files."
        raise RopeScaleConfigError(expected("config", requirement, f"{path}, {link}", hint))
    return path.read_bytes()


def write(path: Path, old: bytes, config: Mapping[str, object]) -> Path:
    """Replace a config file in one step, and keep the old file beside the new one.

    Indentation, line ends and a missing last line end stay as they are.

    Args:
        path: The file.
        old: Content of the file when `config` was planned.
        config: The new content.

    Returns:
        The backup's path: the file's name with .bak, or .bak2 and so on.

    Raises:
        RopeScaleConfigError: If the file has changed since, is not UTF-8, or no JSON would result.
        OSError: If the folder cannot be written. The file is then unchanged.
    """
    if path.read_bytes() != old:
        raise RopeScaleConfigError(expected("config", "the file that was read", f"{path}, changed"))
    try:
        new = _like(old.decode("utf-8-sig"), config).encode()
    except (ValueError, RecursionError) as error:
        got = f"{path} ({type(error).__name__}: {error})"
        raise RopeScaleConfigError(
            expected("config", "UTF-8 and finite numbers to write", got)
        ) from error
    temporary = _temporary(path, new)
    try:
        backup = _backed_up(path, old)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return backup


def _like(old: str, config: Mapping[str, object]) -> str:
    """Return a config as JSON in the style of the old text."""
    found = re.search(r"\n([ \t]+)\S", old)
    indent = None if "\n" not in old.strip() else 2 if found is None else found.group(1)
    separators = (",", ":") if indent is None and '": ' not in old else None
    endless = "NaN" in old or "Infinity" in old
    text = json.dumps(
        config, indent=indent, separators=separators, ensure_ascii=old.isascii(), allow_nan=endless
    )
    if old.endswith("\n"):
        text += "\n"
    return text.replace("\n", "\r\n") if "\r\n" in old else text


def _temporary(path: Path, content: bytes) -> str:
    """Return the path of a new file in the same folder."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    _fill(handle, name, content, path)
    return name


def _backed_up(path: Path, content: bytes) -> Path:
    """Return the path of a new file under the first free name."""
    count = 1
    while True:
        backup = path.with_name(f"{path.name}.bak{'' if count == 1 else count}")
        try:
            handle = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            count += 1
            continue
        _fill(handle, str(backup), content, path)
        return backup


def _fill(handle: int, name: str, content: bytes, like: Path) -> None:
    """Write a new file to the disk with the permissions of `like`; on failure remove the file."""
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, like.stat().st_mode & 0o777)
    except BaseException:
        os.unlink(name)
        raise
