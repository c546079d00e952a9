"""The package's errors, and the form of their messages."""

from __future__ import annotations


class RopeScaleError(Exception):
    """Base class of every error that this package raises on purpose."""


class RopeScaleTypeError(RopeScaleError, TypeError):
    """An argument of the wrong kind or dtype."""


class RopeScaleValueError(RopeScaleError, ValueError):
    """An argument of the wrong shape, range, stride or device."""


class RopeScaleConfigError(RopeScaleValueError):
    """Scaling parameters, or a model's config, that describe no valid scaling."""


class RopeScaleUnsupportedError(RopeScaleError, NotImplementedError):
    """A valid request that no implementation here can serve."""


class RopeScaleRuntimeError(RopeScaleError, RuntimeError):
    """A failure reported by the driver or by the compiled extension."""


class RopeScaleWarning(UserWarning):
    """A legal request that is likely a mistake."""


def expected(argument: str, requirement: str, got: object, hint: str = "") -> str:
    """Return a message: `<argument>: expected <requirement>, got <value>`, and a hint.

    Args:
        argument: Name of the argument or config key at fault.
        requirement: The values that are accepted.
        got: The value that was given; long values are cut at 120 characters.
        hint: One sentence on the fix, if there is one.
    """
    value = got if isinstance(got, str) else repr(got)
    if len(value) > 120:
        value = value[:117] + "..."
    message = f"{argument}: expected {requirement}, got {value}"
    return f"{message}. {hint}" if hint else message


def check_flag(name: str, value: object) -> None:
    """Refuse a flag that is no bool, because the truth of a tensor is read from the device.

    Raises:
        RopeScaleTypeError: If the value is neither True nor False.
    """
    if value is not True and value is not False:
        kind = type(value)
        # numpy's bool has the name of Python's.
        is_builtin = kind.__module__ == "builtins"
        got = kind.__name__ if is_builtin else f"{kind.__module__}.{kind.__name__}"
        raise RopeScaleTypeError(expected(name, "a bool", got))
