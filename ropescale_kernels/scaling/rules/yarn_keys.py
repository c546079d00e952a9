"""The config keys of YaRN in each dialect: factor, length, limits of the ramp, magnitude."""

from __future__ import annotations

from ...errors import RopeScaleConfigError, RopeScaleUnsupportedError, expected
from .. import validate as check
from ..config.dialects import YarnSemantics
from ..config.rope_entry import RopeEntry
from ..magnitude import get_mscale, yarn_attention_factor

_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}
_MSCALES = ("mscale", "mscale_all_dim")


def reading_of(entry: RopeEntry) -> YarnSemantics:
    """Return how the dialect of an entry reads YaRN in a model of its type."""
    dialect = entry.dialect
    return dialect.mla if dialect.mla and entry.model.softmax_mscale else dialect.yarn


def keys(entry: RopeEntry) -> frozenset[str]:
    """Return the rope parameters that YaRN uses in the dialect of an entry."""
    return reading_of(entry).keys() - ({"truncate"} if reads_truncate_beside(entry) else set())


def reads_truncate_beside(entry: RopeEntry) -> bool:
    """Return whether `truncate` counts beside the parameters of the layer types, not inside."""
    reading = reading_of(entry)
    return reading.truncate and entry.by_layer_type is not None and not reading.nested_truncate


def scales_softmax(entry: RopeEntry) -> bool:
    """Return whether the model multiplies its softmax scale by mscale squared."""
    kind = entry.dialect.softmax
    off = reading_of(entry).softmax_opt_out
    if off is not None and entry.parameters.get(off[0]) == off[1]:
        return False
    return kind == "always" or (kind == "model" and entry.model.softmax_mscale)


def arguments(entry: RopeEntry, seq_len: int | None) -> dict[str, object] | None:
    """Return the keywords of YaRN's parameters that an entry stands for.

    Args:
        entry: The rope parameters, and the dialect to follow.
        seq_len: Length in tokens, for dialects that scale only long sequences.

    Returns:
        Keywords for `Yarn.parameters`. None if the dialect scales only sequences beyond L, and
        `seq_len` is not beyond.

    Raises:
        RopeScaleConfigError: Naming the key and the value.
        RopeScaleUnsupportedError: For an `extrapolation_factor` other than 1: no rule here weighs
            the ramp.
    """
    reading = reading_of(entry)
    name = "extrapolation_factor"
    if reading.extrapolation_factor and check.number(name, entry.parameters.get(name, 1)) != 1:
        got = check.shown(entry.parameters[name])
        raise RopeScaleUnsupportedError(expected(name, "1, a ramp that nothing weighs", got))
    length = _length(entry, reading)
    if reading.only_beyond_original_length:
        reached = entry.maximum_length() if seq_len is None else seq_len
        if check.length("seq_len", reached, low=0) <= length:
            return None
    factor = _factor(entry, reading, length)
    if entry.parameters.get("mrope_section") is not None:
        length *= reading.mrope_length
    return {
        "factor": factor,
        "original_max_position_embeddings": length,
        "truncate": _truncate(entry, reading),
        **_betas(entry, reading),
        **_magnitude(entry, reading, factor),
    }


def _length(entry: RopeEntry, reading: YarnSemantics) -> int:
    if reading.length == "maximum":
        key = "original_max_position_embeddings"
        if (top := entry.top_level(key)) is not None:
            entry.findings.ignore(key, top)
        return entry.maximum_length()
    return entry.original_length(top_level=reading.top_level_length)


def _factor(entry: RopeEntry, reading: YarnSemantics, length: int) -> float:
    if "factor" not in entry.parameters and reading.factor == "or_one":
        hint = f"Dialect {entry.dialect.name!r} takes 1, which scales nothing."
        entry.findings.note(expected("factor", "a number for 'yarn'", "no such key", hint))
        return 1.0
    given = entry.parameter("factor")
    if given is None and reading.null_factor:
        maximum = entry.maximum_length()
        if maximum < length:
            requirement = f"one, as max_position_embeddings {maximum} is below L = {length}"
            raise RopeScaleConfigError(expected("factor", requirement, None))
        return check.scale_factor(maximum / length)
    named = entry.parameters.get("original_max_position_embeddings") is not None
    if reading.factor == "ratio" and named:
        maximum = entry.maximum_length()
        original = entry.original_length(top_level=reading.top_level_length)
        factor = check.scale_factor(maximum / original)
        if given is None or check.scale_factor(given) != factor:
            requirement = (
                f"max_position_embeddings / original_max_position_embeddings = "
                f"{maximum} / {original} = {factor!r}"
            )
            hint = f"Dialect {entry.dialect.name!r} uses the ratio and not the explicit factor."
            entry.findings.note(expected("factor", requirement, check.shown(given), hint))
        return factor
    factor = check.scale_factor(given)
    if reading.length == "original":
        entry.compare_lengths(factor, length)
    return factor


def _truncate(entry: RopeEntry, reading: YarnSemantics) -> object:
    if not reading.truncate:
        return True
    beside = entry.by_layer_type if reads_truncate_beside(entry) else None
    return (entry.parameters if beside is None else beside).get("truncate", True)


def _betas(entry: RopeEntry, reading: YarnSemantics) -> dict[str, object]:
    if reading.betas == "fixed":
        return dict(_BETAS)
    if reading.betas == "as_given":
        return {name: entry.parameters.get(name, default) for name, default in _BETAS.items()}
    betas: dict[str, object] = {}
    for name, default in _BETAS.items():
        given = entry.parameters.get(name)
        betas[name] = default if given is None else check.non_negative(name, given) or default
        if given == 0:
            hint = f"Dialect {entry.dialect.name!r} takes {default!r} instead."
            entry.findings.note(expected(name, "a number above 0", given, hint))
    return betas


def _magnitude(entry: RopeEntry, reading: YarnSemantics, factor: float) -> dict[str, object]:
    values = entry.parameters
    if not reading.scales_q_and_k:
        return {"attention_factor": 1.0, "mscale_all_dim": values.get("mscale_all_dim")}
    mscale, all_dim = _mscales(entry, reading)
    result: dict[str, object] = {"mscale": mscale, "mscale_all_dim": all_dim}
    given = values.get("attention_factor") if reading.attention_factor else None
    if given is None and mscale is not None and all_dim is not None and 0 in (mscale, all_dim):
        # A 0 is a weight in such a dialect. To `Yarn.parameters` a 0 means no weight, so the ratio
        # is handed over.
        weighs = reading.mscale != "both_nonzero"
        given = get_mscale(factor, mscale) / get_mscale(factor, all_dim) if weighs else None
    if reading.attn_factor and (weight := values.get("attn_factor")) is not None:
        weight = check.positive("attn_factor", weight)
        if weight != 1:
            formula = yarn_attention_factor(factor, None, mscale, all_dim)
            given = (formula if given is None else check.positive("mscale", given)) * weight
    result["attention_factor"] = given
    return result


def _mscales(entry: RopeEntry, reading: YarnSemantics) -> tuple[float | None, float | None]:
    if reading.mscale == "never":
        return None, None
    values = entry.parameters
    if reading.mscale == "always":
        defaults = {"mscale": 1.0, "mscale_all_dim": 0.0}
        mscale, all_dim = (
            check.non_negative(name, values.get(name, defaults[name])) for name in _MSCALES
        )
        return mscale, all_dim
    given = {name: values[name] for name in _MSCALES if values.get(name) is not None}
    if given and values.get("mrope_section") is not None and not reading.mrope_mscale:
        requirement = f"no such key beside mrope_section in dialect {entry.dialect.name!r}"
        name = next(iter(given))
        raise RopeScaleConfigError(expected(name, requirement, check.shown(given[name])))
    checked = {name: check.non_negative(name, value) for name, value in given.items()}
    counts = len(checked) if reading.mscale == "both_present" else sum(map(bool, checked.values()))
    if counts == 1:
        pair = {name: checked.get(name) for name in _MSCALES}
        hint = "A single one has no effect on q and k."
        entry.findings.note(expected("mscale and mscale_all_dim", "both or none", pair, hint))
    if reading.mscale == "both_present" and len(checked) < len(_MSCALES):
        return None, checked.get("mscale_all_dim")
    return checked.get("mscale"), checked.get("mscale_all_dim")
