"""What an attempt is worth: an approval, or the margin that it leaves after fees and chargebacks.

This module must not know which attempts were made, nor with which probability.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl

from contracts.bundle import PolicyParameters
from contracts.currency import EXPONENT
from contracts.terms import FeeSchedule, MerchantTerms
from service.policy.fees import Fees
from service.policy.rules import Rules
from trainer.errors import EvaluateError
from trainer.evaluate.log import Flags, Floats, Places

Reward = Literal["approval", "margin"]


class Yardstick(NamedTuple):
    """What an approval earns and what attempts cost: by what a margin is measured, whichever policy is judged.

    Attributes
    ----------
    fees
        What processors charge.
    network
        How the fees call a network.
    margin_share
        Contribution of an approved payment, as a share of its amount, before fees.
    by_merchant
        The same of merchants that have one of their own.
    chargeback_fee_minor
        What a chargeback costs beside the amount.
    """

    fees: Fees
    network: Callable[[str], str]
    margin_share: float
    by_merchant: Mapping[str, float]
    chargeback_fee_minor: float

    @classmethod
    def of(
        cls,
        schedules: Mapping[str, FeeSchedule],
        parameters: PolicyParameters,
        merchants: Mapping[str, MerchantTerms],
        margin_share: float | None = None,
    ) -> "Yardstick":
        """Return what a bundle goes by; `margin_share` stands in for its own, and for its merchants'."""
        rules = Rules.load()
        own = {name: each.margin_share for name, each in merchants.items() if each.margin_share is not None}
        return cls(
            fees=Fees(schedules, rules.network, rules.countries("sca")),
            network=rules.network,
            margin_share=parameters.margin_share if margin_share is None else margin_share,
            by_merchant=own if margin_share is None else {},
            chargeback_fee_minor=parameters.chargeback_fee_minor,
        )


class Rewards(NamedTuple):
    """What each action would be worth, approved or failed, and what came of the one that was taken.

    Attributes
    ----------
    name
        What is rewarded.
    approved, failed
        Worth of each action if it is approved and if it is not, shape (n, k).
    realised
        What came of it, shape (n,).
    """

    name: Reward
    approved: Floats
    failed: Floats
    realised: Floats

    def expected(self, p: Floats) -> Floats:
        """Return what actions with these approval probabilities, (n, k), are worth."""
        worth: Floats = p * self.approved + (1.0 - p) * self.failed
        return worth


def approvals(approved: Flags, actions: int) -> Rewards:
    """Return a reward of 1 for an approval; a chargeback does not unmake it."""
    shape = (len(approved), actions)
    return Rewards("approval", np.ones(shape), np.zeros(shape), approved.astype(np.float64))


def margins(
    frame: pl.DataFrame, processors: Sequence[str], taken: Places, charged_back: Flags, yardstick: Yardstick
) -> Rewards:
    """Return the margin of each attempt, in minor units of the currency reported in.

    With the fees of the processor it goes through, for its network and region::

        approved     amount * margin_share - approved_fixed - approved_share * amount
        failed       -failed_fixed
        charged back the amount and the chargeback fee less

    What a promised volume saves is not in it: it depends on what else the month brought.

    Parameters
    ----------
    frame
        `merchant_id`, `merchant_country`, `card_network`, `issuer_country`, `amount_minor`, `label` (approved) and `rate`,
        from `in_currency`.
    processors, taken
        The actions, and which was taken.
    charged_back
        Whether a chargeback is known that the merchant bears, shape (n,).
    yardstick
        What is earned and charged.
    """
    amount = frame["amount_minor"].to_numpy().astype(np.float64)
    rate = frame["rate"].to_numpy().astype(np.float64)
    share = frame["merchant_id"].replace_strict(
        yardstick.by_merchant, default=yardstick.margin_share, return_dtype=pl.Float64
    )
    earned = amount * share.to_numpy()
    fixed, part, lost = _charges(frame, processors, yardstick)
    approved = (earned[:, None] - fixed - part * amount[:, None]) * rate[:, None]
    failed = -lost * rate[:, None]
    rows = np.arange(len(frame))
    realised = np.where(frame["label"].to_numpy(), approved[rows, taken], failed[rows, taken])
    realised -= np.where(charged_back, (amount + yardstick.chargeback_fee_minor) * rate, 0.0)
    return Rewards("margin", approved, failed, realised)


def _charges(frame: pl.DataFrame, processors: Sequence[str], yardstick: Yardstick) -> tuple[Floats, Floats, Floats]:
    """Return each processor's fee for each attempt: fixed part, share and cost of a failure, shapes (n, k)."""
    kinds = frame.select("card_network", "issuer_country", "merchant_country")
    distinct = kinds.unique(maintain_order=True).with_row_index("kind")
    table = np.zeros((len(distinct), len(processors), 3))
    for kind, network, issuer, merchant in distinct.iter_rows():
        # Unknown, a network or an issuer's country fits no line that names one.
        known = merchant if issuer is not None else None
        tariff = yardstick.fees.tariff(yardstick.network(network or ""), issuer or "", known)
        table[kind] = [tariff.of(name) for name in processors]
    place = kinds.join(distinct, on=kinds.columns, how="left", nulls_equal=True, maintain_order="left")["kind"]
    found: Floats = table[place.to_numpy()]
    return found[:, :, 0], found[:, :, 1], found[:, :, 2]


_CENTS: Final = 2


def in_currency(
    frame: pl.DataFrame, currency: str | None, rates: Mapping[str, float]
) -> tuple[pl.DataFrame, str, list[str]]:
    """Return the rows whose money can be added up, with `rate`: a minor unit of theirs in minor units of one currency.

    Parameters
    ----------
    frame
        With a column `currency`.
    currency
        What to report in; None: the commonest.
    rates
        What one unit of other currencies is worth in it.

    Returns
    -------
    tuple
        The rows, the currency reported in, and notes.

    Raises
    ------
    EvaluateError
        When no row has a currency that can be reported in.
    """
    counts = frame["currency"].value_counts().sort(["count", "currency"], descending=[True, False])
    into = currency or counts["currency"][0]
    known = {into: 1.0, **rates}
    minor = {
        name: rate * 10.0 ** (EXPONENT.get(into, _CENTS) - EXPONENT.get(name, _CENTS)) for name, rate in known.items()
    }
    kept = frame.filter(pl.col("currency").is_in(list(minor)))
    if kept.is_empty():
        msg = f"expected payments in {into}, or in a currency with a rate; there are {', '.join(counts['currency'])}"
        raise EvaluateError(msg)
    notes = []
    left = counts.filter(~pl.col("currency").is_in(list(minor)))
    if len(left):
        named = ", ".join(f"{count:,} in {name}" for name, count in left.iter_rows())
        notes.append(f"left out, for want of a rate into {into}: {named}")
    return kept.with_columns(rate=pl.col("currency").replace_strict(minor, return_dtype=pl.Float64)), into, notes
