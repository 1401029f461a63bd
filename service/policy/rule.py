"""One rule: dated, sourced data about a network, a regulation or a product default.

This module must not know where rules are kept or how they are looked up.
"""

from datetime import date
from typing import Annotated, Literal

import msgspec

from contracts.decision import BoundRule
from contracts.inputs import Credential

Confidence = Literal["P", "D", "V", "S"]
"""Kind of source: P network or regulator text, D vendor documentation, V vendor claim, S secondary."""

DeclineClass = Literal["never", "fix_data", "authenticate", "later", "technical", "unknown_outcome"]
Blame = Literal["issuer", "customer", "merchant", "processor", "network", "unknown"]
Treated = Literal["stop", "fix_data", "authenticate", "verify_first", "schedule", "retry"]

RuleId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]+(\.[A-Za-z0-9_*]+)+$", max_length=96)]
NetworkName = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9_]+|\*)$", max_length=64)]
CodeName = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9]{1,8}|\*)$")]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=366 * 86_400)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every rule says of itself.

    `effective_from` is the first day on which it holds, `effective_to` the first on which it no longer does. A start
    that no source gives is written 1987-01-01. `default` marks what is somebody's default and nobody's rule;
    `enabled = false` carries a reading that is known but not followed.
    """

    id: RuleId
    effective_from: date
    source: Text
    confidence: Confidence
    effective_to: date | None = None
    enabled: bool = True
    default: bool = False
    note: str = ""

    def bound(self) -> BoundRule:
        """Return how an answer names this rule."""
        return BoundRule(id=self.id, source=self.source)


class DeclineRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a decline means: the class of a code, an advice code, both together, or a stated reason.

    In a file, `codes`, `advices` and `decline_reasons` are lists; loaded, each holds one value at most and the rule's
    id ends in it (``visa.category_1.04``). `codes = ["*"]` is read for codes that nothing else lists. Without a
    `class` an advice is noted and the code decides. `wait_seconds` counts from the decline. `same_processor = false`:
    sending it there again is pointless; `cascade = true`: another processor need not wait. `send_as`: sent as this
    instead, where the payment may be, it is worth another try at once.
    """

    network: NetworkName
    codes: tuple[CodeName, ...] = ()
    advices: tuple[CodeName, ...] = ()
    decline_reasons: tuple[str, ...] = ()
    without_advice: bool = False
    overrides_code: bool = False
    region: str | None = None
    initiator: Literal["customer", "merchant"] | None = None
    decline_class: DeclineClass | None = msgspec.field(name="class", default=None)
    category: int | None = None
    blame: Blame = "unknown"
    wait_seconds: Seconds = 0
    same_processor: bool = True
    cascade: bool | None = None
    send_as: Credential | None = None


class TreatmentRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows from a class of decline for one initiator.

    `within_seconds`: a retry later than this is no answer to the class (a customer at the till is gone by then).
    `tells`: a reason code for what else there is to do, `note` says it in words.
    """

    decline_class: DeclineClass = msgspec.field(name="class")
    initiator: Literal["customer", "merchant"]
    verdict: Treated
    wait_seconds: Seconds
    cascade: bool
    within_seconds: Seconds | None = None
    tells: Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_]*)?$")] = ""


class ExcessFee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network charges for an attempt beyond a limit, in minor units of `currency`.

    `region` is the issuer's, None for everywhere else; `cross_border` None for domestic and cross-border alike. Carried so
    that a person sees what a limit is about: no attempt beyond a limit is ever planned.
    """

    fee_minor: Annotated[int, msgspec.Meta(ge=0)]
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    source: Text
    confidence: Confidence
    region: str | None = None
    cross_border: bool | None = None
    effective_from: date | None = None


class LimitRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` failed attempts of a card at a merchant in a rolling window.

    `same_amount`: attempts of the same amount alone count. `initiator`: it holds for attempts of customers or of merchants
    only. `counts` says how the network counts the two; the ledger keeps them apart. `fees` are those of one attempt more.
    """

    network: NetworkName
    limit: Annotated[int, msgspec.Meta(ge=1)]
    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=366 * 86_400)]
    region: str | None = None
    initiator: Literal["customer", "merchant"] | None = None
    counts: Literal["apart", "together"] = "apart"
    resets_on_approval: bool = False
    same_amount: bool = False
    fees: tuple[ExcessFee, ...] = ()


class AuthenticationRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a payment must be authenticated, and which payments the duty does not reach.

    `required` with both ends in the region; `one_leg_out` frees a payment with one end outside, `merchant_initiated` one
    that its payer does not start.
    """

    region: str
    ruling: Literal["required", "one_leg_out", "merchant_initiated"]


class CounterRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After how many low value payments, or how much in sum, the issuer asks for authentication again."""

    region: str
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    payments: Annotated[int, msgspec.Meta(ge=1)]
    cumulated_minor: Annotated[int, msgspec.Meta(ge=0)]


class LowValueRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Below which amount a customer's payment may go without authentication."""

    region: str
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    below_minor: Annotated[int, msgspec.Meta(ge=0)]


class RiskAnalysisRule(Rule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to which amount a payment service provider under a fraud rate may exempt by transaction risk analysis."""

    region: str
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    up_to_minor: Annotated[int, msgspec.Meta(ge=0)]
    fraud_rate_basis_points: Annotated[float, msgspec.Meta(ge=0)]


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Countries that rules speak of together."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]+$")]
    source: Text
    countries: tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")], ...] = ()
    includes: tuple[str, ...] = ()


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network's name in the rules, and other names under which it comes in."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]+$")]
    aliases: tuple[str, ...] = ()


class Switch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shop's word on a shipped rule: followed or not, and why. `id` names one rule, or all that its table spells out."""

    id: RuleId
    enabled: bool
    source: Text


class AdviceMapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An advice code as one processor renumbers it, and the network's own code that it means."""

    id: RuleId
    processor: Text
    advice: CodeName
    means: CodeName
    source: Text
