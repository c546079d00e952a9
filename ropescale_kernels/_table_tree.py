"""The module that tables saved by version 0.1.0 name; nothing else imports it."""

from .table.pytree import rebuild

__all__ = ["rebuild"]
