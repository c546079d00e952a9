"""Dialects and their terms, for a dialect made by hand."""

from .config.dialects import DIALECTS, Dialect, LongropeSemantics, YarnSemantics

__all__ = ["DIALECTS", "Dialect", "LongropeSemantics", "YarnSemantics"]
