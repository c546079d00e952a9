"""The package's errors, and the one form their messages take."""

from __future__ import annotations


class RopeScaleError(Exception):
    """Base of every error this package raises on purpose."""


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
    """Something legal that is likely not what was meant."""


def expected(argument: str, requirement: str, got: object, hint: str = "") -> str:
    """Word an error: `<argument>: expected <requirement>, got <value>`, and a hint.

    Args:
        argument: Name of the argument or config key at fault.
        requirement: What would have been right.
        got: The value seen; long values are cut at 120 characters.
        hint: One sentence on how to fix it, where there is a fix.

    Returns:
        The message.
    """
    value = got if isinstance(got, str) else repr(got)
    if len(value) > 120:
        value = value[:117] + "..."
    message = f"{argument}: expected {requirement}, got {value}"
    return f"{message}. {hint}" if hint else message
