"""The types of the kernel `linear_native.pyx`."""

from features.assemble import Matrix
from service.models.kernel import Regression, Tail

class Linear:
    def __init__(self, regression: Regression, tail: Tail) -> None: ...
    def score(self, rows: Matrix) -> tuple[list[float], None]: ...
