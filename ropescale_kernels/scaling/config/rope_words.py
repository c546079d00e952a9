"""Keys that look like a rotation's by their names, wherever they stand in a config."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from .. import validate as check
from .model_types.trained_lengths import ORIGINAL_KEY

# A key is about rotation if its name has one of these words. Keys that a model uses outside the
# rotation are in its row of the table of model types.
_WORDS = frozenset({"logn", "mscale", "ntk", "theta"})
_BEGINNINGS = ("rope", "rotary", "yarn")
_END = "rope"
_WORD = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
# Keys that are about rotation without such a word.
ALWAYS = frozenset({ORIGINAL_KEY})
# Values of such keys that state the default, so no warning is due.
_FLAGS_AT_DEFAULT = {
    "use_rope": True,
    "use_rotary_pos_emb": True,
    "rotary": True,
    "rotary_value": False,
    "use_mrope": False,
    "use_dynamic_ntk": False,
    "use_logn_attn": False,
}


def rope_like(
    config: Mapping[str, object], others: Collection[str] = ALWAYS
) -> list[tuple[str, object]]:
    """Return the keys of one level of a config that look like a rotation's, with their values.

    Args:
        config: Keys and values; a null counts as no key.
        others: Keys that count without such a name.
    """
    return [
        (check.shown(key)[1:-1], value)
        for key, value in config.items()
        if value is not None
        and isinstance(key, str)
        and _FLAGS_AT_DEFAULT.get(key) is not value
        and (key in others or _sounds_like_rope(key))
    ]


def _sounds_like_rope(key: str) -> bool:
    # A key may be of any length; 100 characters of it are shown.
    words = [word.lower() for word in _WORD.findall(key[:100])]
    return any(
        word in _WORDS or word.startswith(_BEGINNINGS) or word.endswith(_END) for word in words
    )
