"""The rotary classes of the installed Transformers."""
