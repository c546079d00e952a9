"""Facts about model types, as data."""

from .table import MODEL_TYPES

__all__ = ["MODEL_TYPES"]
