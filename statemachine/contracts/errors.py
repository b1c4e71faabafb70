"""Our errors. Vendor errors stop at the adapters and become one of these; each docstring is the situation."""


class FraudloopError(Exception):
    """Anything this project raises on purpose."""


class Unreachable(FraudloopError):
    """We failed to look, or do not know whether what we asked was done. Says nothing about the world."""


class Unanswered(Unreachable):
    """We asked for something to be done, and the answer was lost: it may yet show itself."""


class Impossible(FraudloopError):
    """What we asked for was refused and always will be: too large, not allowed, not valid. Nothing was done."""


class Denied(Unreachable):
    """The store will not let us read it. A file of our own may be mended; one that a report names ends the run."""


class Conflict(FraudloopError):
    """A named condition of a write did not hold: somebody else was there first."""

    def __init__(self, clause: str, detail: str = "") -> None:
        super().__init__(f"{clause}: {detail}" if detail else clause)
        self.clause = clause


class Unknown(FraudloopError):
    """A run, model, object or pipeline that was named does not exist."""


class Malformed(FraudloopError):
    """A message, record or report cannot be understood. Trying again will not help."""


class OperationRefused(FraudloopError):
    """A person asked for what the present state forbids; the message says why."""


class Misconfigured(FraudloopError):
    """A setting is missing or wrong; the message names it and says what to do."""
