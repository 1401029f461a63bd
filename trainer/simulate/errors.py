"""The simulator's errors.

::

    TrainerError
    └── SimulateError           arguments or a folder the simulator cannot work with
        └── UnreachableError    nobody answers at the URL given to live mode
"""

from trainer.errors import TrainerError


class SimulateError(TrainerError):
    """Arguments or a folder the simulator cannot work with."""


class UnreachableError(SimulateError):
    """Nobody answers at the URL given to live mode."""
