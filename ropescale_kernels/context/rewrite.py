"""A config with other rope parameters, and how it gets into its file."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ropescale_kernels.errors import RopeScaleConfigError, expected


def rewritten(
    config: Mapping[str, object],
    rope: Mapping[str, object] | None,
    top: Mapping[str, object],
    layer_type: str | None,
    *,
    rope_parameters: bool,
    theta_key: str = "rope_theta",
) -> dict[str, object]:
    """Return a copy of a config with other rope parameters and other keys of its text model.

    Args:
        config: A model's config, possibly multimodal; it is not changed.
        rope: The new rope parameters, `rope_theta` among them, or None to leave the old ones.
        top: Other keys of the text model to set.
        layer_type: The entry of nested rope parameters that they belong to, or None.
        rope_parameters: Whether to write the key of Transformers 5, else `rope_scaling`.
        theta_key: Top-level key of the base.

    Returns:
        The new config, its other keys and their order as they were.
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
            # It stood among the old parameters, or came from the class with them.
            text[theta_key] = rope["rope_theta"]


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the keys whose values differ, with the new ones; those of `text_config` inside it."""
    found = {key: value for key, value in after.items() if before.get(key, ...) != value}
    inner = (before.get("text_config"), after.get("text_config"))
    if isinstance(inner[0], Mapping) and isinstance(inner[1], Mapping) and "text_config" in found:
        found["text_config"] = changes(inner[0], inner[1])
    return found


def write(path: Path, config: Mapping[str, object]) -> Path:
    """Replace a config file at once, the old one kept beside it.

    Args:
        path: The file; it exists.
        config: Its new content.

    Returns:
        The backup's path: the file's name with .bak, or .bak2 and so on.

    Raises:
        RopeScaleConfigError: If the file is a link, whose target others may share, or is not UTF-8.
        OSError: If the folder cannot be written; the file is then as it was.
    """
    if path.is_symlink():
        target = os.readlink(path)
        raise RopeScaleConfigError(
            expected("config", "a file of its own to write", f"{path}, a link to {target}",
                     "Copy the folder first: caches share such files.")
        )  # fmt: skip
    old = path.read_bytes()
    backup = _backup_path(path)
    try:
        text = json.dumps(config, indent=_indent(old.decode()), ensure_ascii=False) + "\n"
        new = text.encode()
    except (ValueError, RecursionError) as error:
        got = f"{path} ({type(error).__name__}: {error})"
        raise RopeScaleConfigError(expected("config", "a file of UTF-8 to write", got)) from error
    _replace(backup, old, path)
    _replace(path, new, path)
    return backup


def _replace(path: Path, content: bytes, like: Path) -> None:
    mode = like.stat().st_mode & 0o777
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _backup_path(path: Path) -> Path:
    count = 1
    while True:
        backup = path.with_name(f"{path.name}.bak{'' if count == 1 else count}")
        if not backup.exists():
            return backup
        count += 1


def _indent(text: str) -> int | str:
    found = re.search(r"\n([ \t]+)\S", text)
    return 2 if found is None else found.group(1)
