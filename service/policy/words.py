"""What the reasons of an auth or routing answer say: a stable code, and a %-format for the numbers behind it.

In one place, for the pure choice and the compiled one say the same. This module must not know when a reason is given.
"""

from typing import Final

Words = tuple[str, str]
"""Code and %-format."""

RISK_TIER: Final[Words] = ("risk_tier", "risk %.4g: %s (%s)")
RISK_DECLINE: Final[Words] = ("risk_decline", "risk %.4g is at or above %g")
RISK_REVIEW: Final[Words] = ("risk_review", "risk %.4g is at or above %g")
RISK_CHALLENGE: Final[Words] = ("risk_challenge", "risk %.4g is at or above %g")
CUSTOMER_ABSENT: Final[Words] = ("customer_absent", "risk %.4g is at or above %g")
ALREADY_AUTHENTICATED: Final[Words] = ("already_authenticated", "risk %.4g is at or above %g")
LOW_APPROVAL: Final[Words] = ("low_approval", "best approval probability %.4g is below %g")
ATTEMPT_LIMIT: Final[Words] = ("attempt_limit", "%d of %d attempts in %d s are used (%s)")
NO_CANDIDATE: Final[Words] = ("no_candidate", "none of %d candidate processors can be used")
ALL_INELIGIBLE: Final[Words] = ("all_ineligible", "all are ineligible; %s is the least bad (%s)")
NEGATIVE_VALUE: Final[Words] = (
    "negative_expected_value",
    "best expected value %.1f minor units; that alone declines nothing",
)
FEES_UNKNOWN: Final[Words] = ("fees_unknown", "%s has no fee schedule; the dearest known was assumed")
UNSUPPORTED: Final[Words] = ("three_ds_unsupported", "risk %.4g is at or above %g, and %s has no 3DS")
SENT_WITHOUT: Final[Words] = ("sent_as_asked", "%s has no 3DS; sent as asked")
SENT_AS_ASKED: Final[Words] = ("sent_as_asked", "a %s question; sent as asked")
CHALLENGE_PAYS: Final[Words] = ("challenge_pays", "%.1f minor units with an authentication, %.1f without")
PROBED: Final[Words] = ("probed", "%s was down and is being tried, with propensity %.4g; the best is %s")
EXPLORED: Final[Words] = ("explored", "%s was drawn with propensity %.4g; the best is %s")
HIGHEST_APPROVAL: Final[Words] = (
    "highest_approval",
    "an approval leaves nothing under these parameters; %s has %.4g",
)
STATIC_ORDER: Final[Words] = ("static_order", "%s and %s are equal at %.1f minor units")
BEST_VALUE: Final[Words] = ("best_expected_value", "%s: %.1f minor units at approval %.4g")

ONE_LEG_OUT: Final[Words] = ("one_leg_out", "issuer in %s, merchant in %s: no duty to authenticate (%s)")
MERCHANT_INITIATED: Final[Words] = ("merchant_initiated", "the customer is not there to authenticate (%s)")
LOW_VALUE: Final[Words] = ("low_value_exemption", "%d is below %d %s minor units (%s); the issuer may refuse")
RISK_ANALYSIS: Final[Words] = (
    "transaction_risk_analysis",
    "%d is at most %d %s minor units, %g at most %g basis points of fraud (%s); the issuer may refuse",
)
REQUIRED: Final[Words] = ("sca_required", "issuer in %s, merchant in %s: no exemption holds (%s)")
USED_UP: Final[Words] = (
    "low_value_used_up",
    "%d low value payments of %d minor units in sum before this one; %d or %d are due for authentication (%s)",
)
