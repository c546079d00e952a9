"""Commands for developers, importable by tests."""
