"""Code that test files share; `pythonpath` in pyproject.toml makes it importable."""

import pytest

# A failure there shows its values, as in a test file.
pytest.register_assert_rewrite("support.bits")
