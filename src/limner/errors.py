"""The one kind of error that is the user's to mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something a user gave cannot be used. The message is one line that says what to do about it.

    The command line prints it as `error: …` and leaves with status 2; a library caller catches a `ValueError`.
    """


class WeightsError(InputError):
    """Weights on this machine are absent or damaged: no input would fare better, so going through more is no use."""
