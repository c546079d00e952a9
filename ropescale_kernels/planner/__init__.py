"""The context of a model, from its config: inspected, compared in every dialect, extended.

Built on `scaling`; nothing here rotates.
"""
