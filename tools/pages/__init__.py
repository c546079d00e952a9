"""The writers of the generated parts of README.md and docs/."""
