"""The time split: what is learnt from lies before what is judged on, and the tries of one payment stay together.

This module must not know any model.
"""

from datetime import datetime, timedelta

import msgspec
import polars as pl

from trainer.errors import FitError

TEST_SHARE = 0.2


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Boundaries in time: train [train_from, train_until), test [test_from, test_until).

    A payment belongs to where its first attempt lies, so that no try of a payment teaches about another try of it.
    """

    train_from: datetime
    train_until: datetime
    test_from: datetime
    test_until: datetime

    def parts(self, started_at: pl.Expr, answered_at: pl.Expr | None = None) -> pl.Expr:
        """Return "train", "test" or null.

        Parameters
        ----------
        started_at
            When the payment's first attempt was.
        answered_at
            When the row's label became known: from `test_from` on it is too late to learn from (a retry days later, say).
            Without it labels may be later than the test; the caller then answers for that.
        """
        learnt = (started_at >= self.train_from) & (started_at < self.train_until)
        if answered_at is not None:
            learnt &= answered_at < self.test_from
        return (
            pl.when(learnt)
            .then(pl.lit("train"))
            .when((started_at >= self.test_from) & (started_at < self.test_until))
            .then(pl.lit("test"))
        )


def split(
    first: datetime,
    last: datetime,
    *,
    train_from: datetime | None = None,
    train_until: datetime | None = None,
    test_from: datetime | None = None,
    test_until: datetime | None = None,
) -> Split:
    """Return the split of a history from `first` to `last`, by default its last fifth for the test.

    Raises
    ------
    FitError
        When the boundaries leave no room to train or to test.
    """
    end = test_until or last + timedelta(microseconds=1)
    begin = train_from or first
    if test_from is None:
        test_from = train_until or end - (end - begin) * TEST_SHARE
    until = train_until or test_from
    if not begin < until <= test_from < end:
        msg = (
            f"expected train from < train until <= test from < test until, got {begin.isoformat()}, {until.isoformat()}, "
            f"{test_from.isoformat()}, {end.isoformat()}"
        )
        raise FitError(msg)
    return Split(train_from=begin, train_until=until, test_from=test_from, test_until=end)
