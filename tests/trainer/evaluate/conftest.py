"""One small simulation that is fitted once, as in the tests of fit."""

from tests.trainer.fit.conftest import bundle, world

__all__ = ["bundle", "world"]
