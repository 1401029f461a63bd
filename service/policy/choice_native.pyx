# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""`service.policy.choice` in C: the same choice, the same odds and the same words, to the last bit.

Every number is made by the operations of the pure modules in their order; what is named after one of their functions is that
function. What C cannot hold (more candidates than a question may name, numbers that are none) is left to them. This module must
not know why anything is as it is: the pure ones say that, and tests compare the two.
"""

import re
import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport INFINITY, erfc, exp, isfinite, isnan, sqrt
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from contracts.decision import Mode, RankedProcessor, Reason
from contracts.inputs import Standing, Variant
from contracts.payment import Payment
from service.ledger import ENTRY, HEAD, MOST as MOST_ENTRIES, VERSION
from service.policy import candidate, choice, exploration, words
from service.policy.constraints import severity

from service.policy.digest cimport digest_of
from service.policy.facts_native cimport (
    MOST_CANDIDATES,
    Corridor,
    Deal,
    Facts,
    Fares,
    Panel,
    Scope,
)
from service.policy.structs cimport place_of, pm_at, pm_blank, pm_give, pm_put
from service.policy.text cimport PM_NUMBER, even_of, pm_letters, pm_number, pm_string, pm_whole, towards_zero

cdef extern from "Python.h":
    bint PyObject_TypeCheck(object value, PyTypeObject *type)
    PyObject *PyFloat_New "PyFloat_FromDouble"(double value) except NULL
    PyObject *PyLong_New "PyLong_FromDouble"(double value) except NULL
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject **PySequence_Fast_ITEMS(object sequence)
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)

if sys.byteorder != "little":
    raise ImportError("ledgers are little endian")
if (HEAD.size, ENTRY.size, VERSION) != (3, 25, 1):
    raise ImportError("ledgers have another form")

cdef enum:
    MOST_WAYS = 4
    ENTRY_SIZE = 25
    RESERVED = 1
    FAILED = 2
    APPROVED = 3

cdef enum Label:
    PLAIN
    EXEMPTION
    THREE_DS

cdef enum Duty:
    NO_DUTY
    ONE_LEG_OUT
    MERCHANT_INITIATED
    LOW_VALUE
    RISK_ANALYSIS
    REQUIRED
    USED_UP

cdef enum Action:
    APPROVE
    CHALLENGE
    REVIEW
    DECLINE

cdef double SLOW = candidate.SLOW
cdef double MOST_SHIFT = candidate._MOST_SHIFT
cdef double BOUND = exploration.BOUND
cdef double MOST_ON_TRIAL = exploration.MOST_ON_TRIAL
cdef double GRAIN = exploration._GRAIN
cdef double RANGE = exploration._RANGE
cdef double ROOT_2 = exploration._ROOT_2
cdef double BELOW_ONE = 1.0 - 2.0**-53
cdef int64_t EXACT = 1 << 53
"""Up to here an int64 is a double without rounding."""
cdef Py_ssize_t MOST_REASONS = choice.MOST_REASONS

cdef Py_ssize_t PAYMENT_ID = place_of(Payment, "payment_id")
cdef Py_ssize_t ATTEMPT = place_of(Payment, "attempt")
cdef Py_ssize_t MERCHANT_ID = place_of(Payment, "merchant_id")
cdef Py_ssize_t AMOUNT = place_of(Payment, "amount_minor")
cdef Py_ssize_t CURRENCY = place_of(Payment, "currency")
cdef Py_ssize_t INITIATOR = place_of(Payment, "initiator")
cdef Py_ssize_t USES_3DS = place_of(Payment, "uses_3ds")
cdef Py_ssize_t IS_TOKEN = place_of(Payment, "is_network_token")
cdef Py_ssize_t AUTHENTICATION = place_of(Variant, "authentication")
cdef Py_ssize_t CREDENTIAL = place_of(Variant, "credential")
cdef Py_ssize_t HEALTH = place_of(Standing, "health")
cdef Py_ssize_t EXCESS = place_of(Standing, "excess")
cdef Py_ssize_t SLOWDOWN = place_of(Standing, "slowdown")
cdef Py_ssize_t SHIFT = place_of(Standing, "shift")
cdef Py_ssize_t DOUBT = place_of(Standing, "doubt")
cdef Py_ssize_t MONTH_MINOR = place_of(Standing, "month_minor")

cdef str _UP = "up"
cdef str _DOWN = "down"
cdef str _HALF_OPEN = "half_open"
cdef str _THREE_DS = "three_ds"
cdef str _NONE = "none"
cdef str _NETWORK_TOKEN = "network_token"
cdef str _MERCHANT = "merchant"
cdef str _ISSUER = "issuer"
cdef str _CHALLENGE = "challenge"
cdef str _ROUTING = "routing"
cdef tuple _LABELS = ("none", "exemption", "three_ds")
cdef tuple _TIERS = ("LOW", "MEDIUM", "HIGH")
cdef tuple _ACTIONS = ("approve", "challenge", "review", "decline")
cdef tuple _EXEMPTIONS = (
    None, "one_leg_out", "merchant_initiated", "low_value", "transaction_risk_analysis", None, None,
)
cdef tuple _NO_CODES = ()
cdef tuple _IS_DOWN = ("down",)
cdef tuple _CAP_REACHED = ("cap_reached",)
cdef tuple _CAP_REACHED_DOWN = ("cap_reached", "down")
cdef tuple _OUTAGE = ("scheduled_outage",)
cdef tuple _TOKEN_UNSUPPORTED = ("token_unsupported",)
cdef tuple _THREE_DS_UNSUPPORTED = ("three_ds_unsupported",)
cdef object _ZERO = 0.0
cdef object _TRUE = True
cdef object _FALSE = False
cdef object _ONE = 1.0


cdef inline bint _same(PyObject *one, str other):
    return one == <PyObject *>other or <object>one == other


cdef inline double _double(PyObject *value) except? -1.0:
    """Return a float or an int as a double; TypeError for anything else."""
    if PyFloat_CheckExact(<object>value):
        return PyFloat_AS_DOUBLE(<object>value)
    if PyLong_CheckExact(<object>value):
        return <double><object>value
    raise TypeError("expected a number")


cdef inline PyObject *_field(object struct, Py_ssize_t place) except NULL:
    cdef PyObject *value = pm_at(<PyObject *>struct, place)
    if value == NULL:
        raise TypeError("a field is not set")
    return value


cdef inline bint _true(PyObject *value) except -1:
    return value == <PyObject *>_TRUE or (value != <PyObject *>None and value != <PyObject *>_FALSE and bool(<object>value))


cdef inline bint _listed(object value):
    return PyTuple_CheckExact(value) or PyList_CheckExact(value)


cdef int64_t _whole(object value) except? -1:
    """Return an int that is a double without rounding; OverflowError for another."""
    cdef int64_t whole = value
    if not -EXACT <= whole <= EXACT:
        raise OverflowError("expected less than 2^53")
    return whole


include "choice_words.pxi"
include "choice_held.pxi"
include "choice_ledger.pxi"
include "choice_lineup.pxi"
include "choice_odds.pxi"
include "choice_reasons.pxi"
include "choice_answer.pxi"


cdef class Kernel:
    """Chooses for one bundle, as `service.policy.choice.Chooser` does.

    Parameters
    ----------
    parameters : PolicyParameters
        Of the bundle.
    facts : Facts
        What it, its rules and its merchants settle beforehand.
    """

    cdef Facts _facts
    cdef Parameters _parameters

    def __init__(self, parameters, Facts facts not None):
        self._facts = facts
        self._parameters.abandonment = parameters.challenge_abandonment
        self._parameters.stopped = parameters.challenge_fraud_stopped
        self._parameters.gain = parameters.challenge_gain
        self._parameters.floor = parameters.exploration_floor
        self._parameters.exploration = parameters.exploration
        self._parameters.probe = parameters.probe_share
        self._parameters.chargeback = parameters.chargeback_fee_minor
        if not 0 <= self._parameters.chargeback < EXACT:
            raise OverflowError("expected a chargeback fee below 2^53")

    def choose(self, request, processors, approval, risk, kind, at, degraded, variants, standings, ledger):
        """Choose an action and a candidate, as `Policy.choose` says; None where only the pure one can.

        Parameters
        ----------
        at : int
            Moment of the question, microseconds.
        ledger : bytes, sequence of Entry or None
            Packed as `service.ledger` does it, or read.
        """
        try:
            return self._choose(request, processors, approval, risk, kind, at, degraded, variants, standings, ledger)
        except (OverflowError, TypeError):
            return None

    def needed(self, request, processors, variants, risk, kind, at, ledger):
        """Return the variants whose estimates a choice would look at, as `Policy.needed`; None where only the pure one can."""
        cdef Held held
        cdef Ways ways
        cdef Corridor corridor
        cdef Panel panel
        cdef Ledger entries
        cdef bint[MOST_WAYS] weighed
        cdef int place, count = 0
        try:
            if not _fits(request, processors, variants):
                return None
            panel = self._facts.panel(processors)
            packed = packed_of(ledger, &entries)
            corridor = self._facts.corridor(request, at)
            deal = self._facts.deal(<object>_field(request, MERCHANT_ID))
            if not hold(request, risk, kind, corridor, deal, &entries, &self._parameters, &held):
                return None
            ways_of(request, variants, &held, &self._parameters, &ways)
        except (OverflowError, TypeError):
            return None
        for place in range(MOST_WAYS):
            weighed[place] = False
        for place in range(ways.allowed):
            weighed[ways.every[ways.first + place].variant] = True
        if ways.must and not panel.all_secure:
            for place in range(ways.asked):
                weighed[ways.every[place].variant] = True
        for place in range(<int>PyTuple_GET_SIZE(variants)):
            count += weighed[place]
        if count == PyTuple_GET_SIZE(variants):
            return variants
        return tuple([variants[place] for place in range(PyTuple_GET_SIZE(variants)) if weighed[place]])

    cdef object _choose(
        self, request, processors, approval, risk, kind, at, degraded, variants, standings, ledger
    ):
        cdef Held held
        cdef Ways ways
        cdef Lineup lineup
        cdef Ledger entries
        cdef Corridor corridor
        cdef Panel panel
        cdef Deal deal
        cdef Candidate *chosen = NULL
        cdef Candidate *best
        cdef Filling[MOST_PARTS] fillings
        cdef double[MOST_CANDIDATES] odds
        cdef tuple objections = None
        cdef list said = []
        cdef list codes = []
        cdef Action action = Action.APPROVE
        cdef int64_t moment = at
        cdef int place
        cdef bint sent, challenged
        if not _fits(request, processors, variants) or moment < 0 or not _shaped(approval, processors, variants):
            return None
        if not _listed(standings):
            return None
        if standings and PySequence_Fast_GET_SIZE(standings) != PyTuple_GET_SIZE(processors):
            return None
        panel = self._facts.panel(processors)
        if not panel.sound:
            return None
        packed = packed_of(ledger, &entries)
        corridor = self._facts.corridor(request, moment)
        deal = self._facts.deal(<object>_field(request, MERCHANT_ID))
        if not hold(request, risk, kind, corridor, deal, &entries, &self._parameters, &held):
            return None
        fillings[0].number = held.risk
        fillings[1].text = PyTuple_GET_ITEM(_TIERS, held.tier)
        fillings[2].text = <PyObject *>deal.tiers
        said.append(reason_of(&p_risk_tier, fillings))
        ways_of(request, variants, &held, &self._parameters, &ways)
        if panel.any_limited:
            objections = self._facts.objections(panel, corridor, request)
        fares = self._facts.fares(panel, corridor.tariff)
        if not lineup_of(
            panel, fares, objections, approval, standings, deal, moment, &held, &ways, &lineup, codes
        ):
            return None
        if spent(request, corridor, &held, &entries, moment, said):
            action = Action.DECLINE
        elif held.auth:
            action = judge(&held, deal, &lineup, said)
        if lineup.running == 0:
            fillings[0].whole = lineup.out + lineup.refused
            said.append(reason_of(&p_no_candidate, fillings))
        else:
            if lineup.forced:
                best = &lineup.every[lineup.runners[0]]
                listed = ", ".join(<tuple>best.codes)
                fillings[0].text = PyTuple_GET_ITEM(processors, best.index)
                fillings[1].text = <PyObject *>listed
                said.append(reason_of(&p_all_ineligible, fillings))
            if action == Action.DECLINE:
                odds[0] = 1.0
                for place in range(1, lineup.running):
                    odds[place] = 0.0
            elif not odds_of(&lineup, &ways, &self._parameters, held.margin, not degraded, odds):
                return None
            place = _pick(_draw_of(request), odds, lineup.running) if odds[0] < 1.0 else 0
            chosen = &lineup.every[lineup.runners[place]]
            explain(&lineup, place, odds, processors, said)
        sent = chosen != NULL and action != Action.DECLINE
        challenged = sent and ways.every[chosen.ways[0].way].challenge
        if challenged and action == Action.APPROVE:
            action = Action.CHALLENGE
        if sent:
            action = tell(request, action, chosen, corridor, deal, &held, &ways, processors, said)
        if lineup.running and lineup.every[lineup.runners[0]].ways[0].value < 0.0:
            fillings[0].number = lineup.every[lineup.runners[0]].ways[0].value
            said.append(reason_of(&p_negative_value, fillings))
        if sent and not panel.known[chosen.index]:
            fillings[0].text = PyTuple_GET_ITEM(processors, chosen.index)
            said.append(reason_of(&p_fees_unknown, fillings))
        return choice_of(action, chosen, sent, challenged, corridor, processors, said, &held, &ways, &lineup, odds)


cdef bint _fits(request, processors, variants) except -1:
    """Say whether request, candidates and variants are of the types that C reads."""
    cdef Py_ssize_t place
    if not PyObject_TypeCheck(request, <PyTypeObject *>Payment):
        return False
    if not PyTuple_CheckExact(processors) or not PyTuple_CheckExact(variants):
        return False
    if PyTuple_GET_SIZE(variants) > MOST_WAYS:
        return False
    for place in range(PyTuple_GET_SIZE(variants)):
        if type(<object>PyTuple_GET_ITEM(variants, place)) is not Variant:
            return False
    return True


cdef bint _shaped(approval, tuple processors, tuple variants) except -1:
    """Say whether there is a row for each variant, and in it a number for each candidate."""
    cdef Py_ssize_t place
    cdef PyObject **rows
    if not _listed(approval) or PySequence_Fast_GET_SIZE(approval) != PyTuple_GET_SIZE(variants):
        return False
    rows = PySequence_Fast_ITEMS(approval)
    for place in range(PyTuple_GET_SIZE(variants)):
        row = <object>rows[place]
        if not _listed(row) or PySequence_Fast_GET_SIZE(row) != PyTuple_GET_SIZE(processors):
            return False
    return True
