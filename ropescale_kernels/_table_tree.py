"""Shim for tables saved by version 0.1.0, which name this module. No other module imports it."""

from .table.pytree import rebuild

__all__ = ["rebuild"]
