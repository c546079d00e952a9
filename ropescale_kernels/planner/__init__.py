"""What a model's config means for its context: inspected, compared, extended.

Built on `scaling`; nothing here rotates.
"""
