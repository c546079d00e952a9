"""Dialects, under the path that `RopeScaling.from_hf_config` names."""

from .config.dialects import DIALECTS, Dialect, LongropeSemantics, YarnSemantics

__all__ = ["DIALECTS", "Dialect", "LongropeSemantics", "YarnSemantics"]
