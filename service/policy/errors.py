"""What can be wrong with the policy's own data.

    PolicyError
    ├── RuleError        a rule file does not say what a rule file may say
    └── ParameterError   a bundle's policy parameters contradict themselves

Both are raised at start or at a bundle's loading, never while a payment is decided.
"""


class PolicyError(Exception):
    """Base of every error of this room."""


class RuleError(PolicyError):
    """A rule file was refused.

    Parameters
    ----------
    where : str
        File, table and id of the culprit, as far as known.
    what : str
        What was expected and what came.
    """

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what
        super().__init__(f"{where}: {what}")


class ParameterError(PolicyError):
    """A policy parameter was refused.

    Parameters
    ----------
    name : str
        The field of `PolicyParameters`.
    what : str
        What was expected and what came.
    """

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        super().__init__(f"policy parameter `{name}`: {what}")
