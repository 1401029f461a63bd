# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""`service.policy.choice` in C: the same choice, the same odds and the same words, to the last bit.

Every number is made by the operations of the pure modules in their order; what is named after one of their functions is that
function. What C cannot hold (more candidates than a question may name, numbers that are none) is left to them. This module must
not know why anything is as it is: the pure ones say that, and tests compare the two.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport INFINITY, erfc, exp, isfinite, isnan, rint, sqrt, trunc
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdio cimport snprintf
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
from service.policy.words_native cimport MOST_PARTS, Filling, Phrase

cdef extern from "Python.h":
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
    MOST_WAYS = 8
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
cdef Py_ssize_t R_PROCESSOR = place_of(RankedProcessor, "processor")
cdef Py_ssize_t R_APPROVAL = place_of(RankedProcessor, "approval_probability")
cdef Py_ssize_t R_COST = place_of(RankedProcessor, "cost_minor")
cdef Py_ssize_t R_VALUE = place_of(RankedProcessor, "expected_value_minor")
cdef Py_ssize_t R_PROPENSITY = place_of(RankedProcessor, "propensity")
cdef Py_ssize_t R_ELIGIBLE = place_of(RankedProcessor, "eligible")
cdef Py_ssize_t R_REASONS = place_of(RankedProcessor, "reasons")
cdef Py_ssize_t R_MODES = place_of(RankedProcessor, "modes")
cdef Py_ssize_t M_AUTHENTICATION = place_of(Mode, "authentication")
cdef Py_ssize_t M_CREDENTIAL = place_of(Mode, "credential")
cdef Py_ssize_t M_APPROVAL = place_of(Mode, "approval_probability")
cdef Py_ssize_t M_VALUE = place_of(Mode, "expected_value_minor")
cdef Py_ssize_t C_ACTION = place_of(choice.Choice, "action")
cdef Py_ssize_t C_INDEX = place_of(choice.Choice, "index")
cdef Py_ssize_t C_PROCESSOR = place_of(choice.Choice, "processor")
cdef Py_ssize_t C_APPROVAL = place_of(choice.Choice, "approval_probability")
cdef Py_ssize_t C_RANKING = place_of(choice.Choice, "ranking")
cdef Py_ssize_t C_TIER = place_of(choice.Choice, "risk_tier")
cdef Py_ssize_t C_THREE_DS = place_of(choice.Choice, "three_ds")
cdef Py_ssize_t C_EXEMPTION = place_of(choice.Choice, "exemption")
cdef Py_ssize_t C_REASONS = place_of(choice.Choice, "reasons")
cdef Py_ssize_t C_LIABILITY = place_of(choice.Choice, "liability")
cdef Py_ssize_t C_CREDENTIAL = place_of(choice.Choice, "credential")
cdef Py_ssize_t C_RESERVATION = place_of(choice.Choice, "reservation")

# The number of fields that are filled: with one more this kernel would leave it empty.
for _struct, _fields in ((RankedProcessor, 8), (Mode, 4), (choice.Choice, 12), (Reason, 2), (Standing, 6)):
    if len(_struct.__struct_fields__) != _fields:
        raise ImportError(f"{_struct.__name__} has other fields")

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

cdef Phrase p_risk_tier = Phrase(words.RISK_TIER)
cdef Phrase p_risk_decline = Phrase(words.RISK_DECLINE)
cdef Phrase p_risk_review = Phrase(words.RISK_REVIEW)
cdef Phrase p_risk_challenge = Phrase(words.RISK_CHALLENGE)
cdef Phrase p_customer_absent = Phrase(words.CUSTOMER_ABSENT)
cdef Phrase p_already_authenticated = Phrase(words.ALREADY_AUTHENTICATED)
cdef Phrase p_low_approval = Phrase(words.LOW_APPROVAL)
cdef Phrase p_attempt_limit = Phrase(words.ATTEMPT_LIMIT)
cdef Phrase p_no_candidate = Phrase(words.NO_CANDIDATE)
cdef Phrase p_all_ineligible = Phrase(words.ALL_INELIGIBLE)
cdef Phrase p_negative_value = Phrase(words.NEGATIVE_VALUE)
cdef Phrase p_fees_unknown = Phrase(words.FEES_UNKNOWN)
cdef Phrase p_unsupported = Phrase(words.UNSUPPORTED)
cdef Phrase p_sent_without = Phrase(words.SENT_WITHOUT)
cdef Phrase p_sent_as_asked = Phrase(words.SENT_AS_ASKED)
cdef Phrase p_challenge_pays = Phrase(words.CHALLENGE_PAYS)
cdef Phrase p_probed = Phrase(words.PROBED)
cdef Phrase p_explored = Phrase(words.EXPLORED)
cdef Phrase p_highest_approval = Phrase(words.HIGHEST_APPROVAL)
cdef Phrase p_static_order = Phrase(words.STATIC_ORDER)
cdef Phrase p_best_value = Phrase(words.BEST_VALUE)
cdef Phrase p_low_value = Phrase(words.LOW_VALUE)
cdef Phrase p_risk_analysis = Phrase(words.RISK_ANALYSIS)
cdef Phrase p_used_up = Phrase(words.USED_UP)


cdef struct Way:
    Label label
    int variant
    PyObject *credential
    bint token
    bint challenge
    bint secure
    double passing
    double earned


cdef struct Ways:
    int allowed
    int asked
    bint must
    # The allowed come from `first` on in `all`, the asked from its beginning.
    int first
    Way[2 * MOST_WAYS] every


cdef struct Weighed:
    int way
    double p
    double unbroken
    double cost
    double value
    double gain
    # What it is ordered by: 0 by value, 1 by the chance of an approval and then the cost.
    int kind
    double lead
    double follow


cdef struct Candidate:
    int index
    int count
    Weighed[MOST_WAYS] ways
    double doubt
    bint trial
    bint slow
    PyObject *codes


cdef struct Lineup:
    Candidate[MOST_CANDIDATES] every
    int running
    int out
    int refused
    bint forced
    int[MOST_CANDIDATES] runners
    int[MOST_CANDIDATES] outs
    int[MOST_CANDIDATES] refusals
    bint[MOST_CANDIDATES] repeated


cdef struct Held:
    # What holds for a question before anything is weighed.
    int64_t amount
    double risk
    int tier
    int initiator
    bint auth
    bint present
    bint demanded
    bint secure
    Duty duty
    int band
    int64_t low_count
    int64_t low_total
    double margin


cdef struct Ledger:
    const char *entries
    int count


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
    cdef double _abandonment, _stopped, _gain, _floor, _exploration, _probe
    cdef int64_t _chargeback

    def __init__(self, parameters, Facts facts not None):
        self._facts = facts
        self._abandonment = parameters.challenge_abandonment
        self._stopped = parameters.challenge_fraud_stopped
        self._gain = parameters.challenge_gain
        self._floor = parameters.exploration_floor
        self._exploration = parameters.exploration
        self._probe = parameters.probe_share
        self._chargeback = parameters.chargeback_fee_minor
        if not -EXACT < self._chargeback < EXACT:
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
        cdef int place, count
        try:
            if not _fits(request, processors, variants):
                return None
            panel = self._facts.panel(processors)
            packed = _packed(ledger, &entries)
            corridor = self._facts.corridor(request, at)
            if not self._hold(request, risk, kind, corridor, &entries, &held):
                return None
            self._ways(request, variants, &held, self._facts.deal(<object>_field(request, MERCHANT_ID)), &ways)
        except (OverflowError, TypeError):
            return None
        for place in range(MOST_WAYS):
            weighed[place] = False
        for place in range(ways.allowed):
            weighed[ways.every[ways.first + place].variant] = True
        if ways.must and not panel.all_secure:
            for place in range(ways.asked):
                weighed[ways.every[place].variant] = True
        count = 0
        for place in range(PyTuple_GET_SIZE(variants)):
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
        cdef list said, codes
        cdef Action action = Action.APPROVE
        cdef int64_t moment = at
        cdef int place
        cdef bint sent, challenged
        if not _fits(request, processors, variants) or moment < 0 or not _shaped(approval, processors, variants):
            return None
        if standings and PySequence_Fast_GET_SIZE(standings) != PyTuple_GET_SIZE(processors):
            return None
        panel = self._facts.panel(processors)
        if not panel.sound:
            return None
        packed = _packed(ledger, &entries)
        corridor = self._facts.corridor(request, moment)
        if not self._hold(request, risk, kind, corridor, &entries, &held):
            return None
        deal = self._facts.deal(<object>_field(request, MERCHANT_ID))
        said = []
        fillings[0].number = held.risk
        fillings[1].text = PyTuple_GET_ITEM(_TIERS, held.tier)
        fillings[2].text = <PyObject *>deal.tiers
        said.append(p_risk_tier.reason(fillings))
        self._ways(request, variants, &held, deal, &ways)
        # Owns the codes that candidates only borrow.
        codes = []
        if not self._lineup(request, corridor, panel, approval, standings, deal, moment, &held, &ways, &lineup, codes):
            return None
        if self._spent(request, corridor, &held, &entries, moment, said):
            action = Action.DECLINE
        elif held.auth:
            action = _judge(&held, deal, &lineup, said)
        if lineup.running == 0:
            fillings[0].whole = lineup.out + lineup.refused
            said.append(p_no_candidate.reason(fillings))
        else:
            if lineup.forced:
                best = &lineup.every[lineup.runners[0]]
                listed = ", ".join(<tuple>best.codes)
                fillings[0].text = PyTuple_GET_ITEM(processors, best.index)
                fillings[1].text = <PyObject *>listed
                said.append(p_all_ineligible.reason(fillings))
            if action == Action.DECLINE:
                odds[0] = 1.0
                for place in range(1, lineup.running):
                    odds[place] = 0.0
            elif not self._odds(&lineup, &ways, held.margin, not degraded, odds):
                return None
            place = _pick(_draw_of(request), odds, lineup.running) if odds[0] < 1.0 else 0
            chosen = &lineup.every[lineup.runners[place]]
            _explain(&lineup, place, odds, processors, said)
        sent = chosen != NULL and action != Action.DECLINE
        challenged = sent and ways.every[chosen.ways[0].way].challenge
        if challenged and action == Action.APPROVE:
            action = Action.CHALLENGE
        if sent:
            action = self._tell(request, action, chosen, corridor, deal, &held, &ways, processors, said)
        if lineup.running and lineup.every[lineup.runners[0]].ways[0].value < 0.0:
            fillings[0].number = lineup.every[lineup.runners[0]].ways[0].value
            said.append(p_negative_value.reason(fillings))
        if sent and not panel.known[chosen.index]:
            fillings[0].text = PyTuple_GET_ITEM(processors, chosen.index)
            said.append(p_fees_unknown.reason(fillings))
        return self._made(
            action, chosen, sent, challenged, corridor, processors, said, &held, &ways, &lineup, odds
        )

    cdef bint _hold(
        self, request, risk, kind, Corridor corridor, Ledger *entries, Held *held
    ) except -1:
        """Say what holds before anything is weighed; False where risk is no probability."""
        cdef Deal deal = self._facts.deal(<object>_field(request, MERCHANT_ID))
        held.risk = _double(<PyObject *>risk)
        if not 0.0 <= held.risk <= 1.0:
            return False
        held.amount = <object>_field(request, AMOUNT)
        if not 0 <= held.amount < EXACT - self._chargeback or self._chargeback < 0:
            return False
        held.auth = kind == "auth"
        held.tier = 2 if held.risk >= deal.tier_high else 1 if held.risk >= deal.tier_medium else 0
        held.secure = bool(<object>_field(request, USES_3DS))
        held.initiator = 1 if _same(_field(request, INITIATOR), _MERCHANT) else 0
        held.present = held.auth and not held.secure and held.initiator == 0
        held.demanded = (
            held.present
            and deal.challenge_from <= held.risk
            and held.risk < (deal.decline_from if deal.decline_from < deal.review_from else deal.review_from)
        )
        held.margin = held.amount * deal.margin_share
        held.duty = Duty.NO_DUTY
        if not held.secure:
            if corridor.scope[held.initiator] == Scope.BOUND:
                if held.initiator == 0:
                    self._exempt(request, corridor, deal, entries, held)
            elif corridor.scope[held.initiator] == Scope.ONE_LEG:
                held.duty = Duty.ONE_LEG_OUT
            elif corridor.scope[held.initiator] == Scope.ABSENT:
                held.duty = Duty.MERCHANT_INITIATED
        return True

    cdef int _exempt(self, request, Corridor corridor, Deal deal, Ledger *entries, Held *held) except -1:
        """Say what exempts a customer's payment that is in scope."""
        cdef int place
        cdef bint used_up = False
        if corridor.has_low and held.amount < corridor.below:
            used_up = _counted(request, corridor, entries, held)
            if not used_up:
                held.duty = Duty.LOW_VALUE
                return 0
        if deal.claims and held.tier == 0:
            for place in range(corridor.bands):
                if held.amount <= corridor.up_to[place] and deal.fraud <= corridor.rates[place]:
                    held.duty = Duty.RISK_ANALYSIS
                    held.band = place
                    return 0
        held.duty = Duty.USED_UP if used_up else Duty.REQUIRED
        return 0

    cdef int _ways(self, request, tuple variants, Held *held, Deal deal, Ways *ways) except -1:
        """Return the ways a payment may be sent, as `service.policy.modes.ways_of`."""
        cdef double honest = (1.0 - held.risk) * (1.0 - self._abandonment)
        cdef double bare = held.margin - held.risk * <double>(held.amount + self._chargeback)
        cdef double passing = honest + held.risk * (1.0 - self._stopped)
        cdef bint required = held.duty == Duty.REQUIRED or held.duty == Duty.USED_UP
        cdef bint must = held.demanded or required
        cdef bint pays = passing * held.margin - bare >= self._gain * held.margin
        cdef bint challenge = held.present and (must or pays)
        cdef bint exempt = not required and held.duty != Duty.NO_DUTY
        cdef bint is_token = bool(<object>_field(request, IS_TOKEN))
        cdef int place, asked = 0, more = 0
        cdef Way[MOST_WAYS] challenged
        cdef Way *way
        cdef PyObject *credential
        cdef bint token, three_ds
        for place in range(<int>PyTuple_GET_SIZE(variants)):
            variant = <object>PyTuple_GET_ITEM(variants, place)
            credential = _field(variant, CREDENTIAL)
            token = is_token if credential == <PyObject *>None else _same(credential, _NETWORK_TOKEN)
            three_ds = _same(_field(variant, AUTHENTICATION), _THREE_DS)
            if held.secure:
                # The first is the payment as asked, whatever it is called.
                if place > 0 and not three_ds:
                    continue
                way = &ways.every[asked]
                asked += 1
                way.label, way.challenge, way.secure = Label.THREE_DS, False, True
                way.passing, way.earned = 1.0, held.margin
            elif not three_ds:
                if not _same(_field(variant, AUTHENTICATION), _NONE):
                    raise TypeError("expected another authentication")
                way = &ways.every[asked]
                asked += 1
                way.label, way.challenge, way.secure = Label.EXEMPTION if exempt else Label.PLAIN, False, False
                way.passing, way.earned = 1.0, bare
            elif challenge:
                way = &challenged[more]
                more += 1
                way.label, way.challenge, way.secure = Label.THREE_DS, True, True
                way.passing, way.earned = passing, held.margin
            else:
                continue
            way.variant, way.credential, way.token = place, credential, token
        ways.asked = asked
        ways.must = challenge and must
        if challenge and must and more == 0:
            for place in range(asked):
                challenged[place] = ways.every[place]
                challenged[place].label = Label.THREE_DS
                challenged[place].challenge = challenged[place].secure = True
                challenged[place].passing, challenged[place].earned = passing, held.margin
            more = asked
        for place in range(more):
            ways.every[asked + place] = challenged[place]
        if not challenge:
            ways.first, ways.allowed = 0, asked
        elif must:
            ways.first, ways.allowed = asked, more
        else:
            ways.first, ways.allowed = 0, asked + more
        return 0

    cdef bint _lineup(
        self, request, Corridor corridor, Panel panel, approval, standings, Deal deal, int64_t at,
        Held *held, Ways *ways, Lineup *lineup, list codes,
    ) except -1:
        """Weigh every candidate, as `service.policy.lineup.Weigher.lineup`; False where a number is none."""
        cdef Fares fares = self._facts.fares(panel, corridor.tariff)
        cdef tuple objections = self._facts.objections(panel, corridor, request) if panel.any_limited else None
        cdef int[MOST_WAYS] open_
        cdef PyObject **rows = PySequence_Fast_ITEMS(approval)
        cdef PyObject **told = PySequence_Fast_ITEMS(standings) if standings else NULL
        cdef Candidate *one
        cdef PyObject *health
        cdef tuple against
        cdef object volume
        cdef double excess, slowdown, shift, month, approved, missing, save
        cdef int index, place, count, lacking
        cdef bint down
        lineup.running = lineup.out = lineup.refused = 0
        lineup.forced = False
        for index in range(panel.count):
            lineup.repeated[index] = panel.repeated[index]
            if panel.repeated[index]:
                lineup.refusals[lineup.refused] = index
                lineup.refused += 1
                continue
            one = &lineup.every[index]
            one.index, one.doubt, one.trial = index, 0.0, False
            excess, slowdown, shift, month, down = 0.0, 1.0, 0.0, 0.0, False
            if told != NULL:
                standing = <object>told[index]
                if type(standing) is not Standing:
                    return False
                health = _field(standing, HEALTH)
                if not _same(health, _UP):
                    down = _same(health, _DOWN)
                    one.trial = _same(health, _HALF_OPEN)
                excess = _double(_field(standing, EXCESS))
                slowdown = _double(_field(standing, SLOWDOWN))
                shift = _double(_field(standing, SHIFT))
                one.doubt = _double(_field(standing, DOUBT))
                month = _double(_field(standing, MONTH_MINOR))
            against = _IS_DOWN if down else _NO_CODES
            approved = fares.fixed[index] + held.amount * fares.share[index]
            if deal.volumes:
                volume = deal.volumes.get(<object>PyTuple_GET_ITEM(panel.processors, index))
                if volume is not None:
                    if volume.cap_minor is not None and month >= <double>_whole(volume.cap_minor):
                        against = _CAP_REACHED_DOWN if down else _CAP_REACHED
                    missing = <double>_whole(volume.commit_minor) - month
                    if missing > 0.0:
                        save = volume.shortfall_share
                        approved -= save * (missing if missing < held.amount else held.amount)
            count = ways.allowed
            for place in range(count):
                open_[place] = ways.first + place
            if panel.limited[index]:
                against = against + <tuple>objections[index]
                for begins, ends in <tuple>panel.outages[index]:
                    if begins <= at < ends:
                        against = against + _OUTAGE
                        break
                if not (panel.token[index] and panel.secure[index]):
                    count = _usable(ways, panel.token[index], panel.secure[index], open_, &lacking)
                    if lacking != 0:
                        against = against + (_TOKEN_UNSUPPORTED if lacking == 1 else _THREE_DS_UNSUPPORTED)
            codes.append(against)
            one.codes = <PyObject *>against
            one.slow = slowdown > SLOW
            if not self._weigh(one, ways, open_, count, rows, approved, fares.failed[index], panel.three_ds[index], excess, shift):
                return False
            if one.count == 0:
                lineup.refusals[lineup.refused] = index
                lineup.refused += 1
            elif against:
                lineup.outs[lineup.out] = index
                lineup.out += 1
            else:
                lineup.runners[lineup.running] = index
                lineup.running += 1
        if lineup.running == 0 and lineup.out > 0:
            _least_bad(lineup)
            lineup.forced = lineup.running > 0
            _sort(lineup, False)
        else:
            _sort(lineup, True)
        return True

    cdef bint _weigh(
        self, Candidate *one, Ways *ways, int *open_, int count, PyObject **rows, double approved, double failed,
        double three_ds, double excess, double shift,
    ) except -1:
        """Weigh the ways of sending through one processor, as `service.policy.candidate.weigh`."""
        cdef double odds = 1.0
        cdef double working = 1.0 - excess
        cdef double unbroken, worth, sent
        cdef Way *way
        cdef Weighed new
        cdef PyObject *cell
        cdef int place, other
        if shift != 0.0:
            shift = MOST_SHIFT if MOST_SHIFT < shift else shift
            odds = exp(shift if shift > -MOST_SHIFT else -MOST_SHIFT)
        one.count = 0
        for place in range(count):
            way = &ways.every[open_[place]]
            cell = PySequence_Fast_ITEMS(<object>rows[way.variant])[one.index]
            if not PyFloat_CheckExact(<object>cell):
                return False
            unbroken = PyFloat_AS_DOUBLE(<object>cell)
            if not 0.0 <= unbroken <= 1.0:
                continue
            if odds != 1.0:
                unbroken *= odds / (odds * unbroken + (1.0 - unbroken))
            new.way = open_[place]
            new.unbroken = unbroken
            new.p = unbroken * working
            worth = way.earned - approved
            if way.challenge:
                sent = way.passing
                new.cost = sent * (new.p * approved + (1.0 - new.p) * failed) + three_ds
            else:
                sent = 1.0
                new.cost = new.p * approved + (1.0 - new.p) * failed
            new.value = sent * new.p * way.earned - new.cost
            new.gain = sent * (worth + failed)
            if worth > 0.0:
                new.kind, new.lead, new.follow = 0, -new.value, 0.0
            else:
                new.kind, new.lead, new.follow = 1, -sent * new.p, new.cost
            if not isfinite(new.value) or not isfinite(new.cost) or isnan(new.lead):
                return False
            if one.count and _before(&new, &one.ways[0]):
                for other in range(one.count, 0, -1):
                    one.ways[other] = one.ways[other - 1]
                one.ways[0] = new
            else:
                one.ways[one.count] = new
            one.count += 1
        return True

    cdef bint _spent(
        self, request, Corridor corridor, Held *held, Ledger *entries, int64_t at, list said
    ) except -1:
        """Say whether an attempt limit is used up; the attempt asked about is not counted."""
        cdef tuple binding = <tuple>corridor.binding[held.initiator]
        cdef Filling[MOST_PARTS] fillings
        cdef uint64_t own
        cdef int64_t count
        if entries.count == 0 or not binding or entries.count < corridor.least[held.initiator]:
            return False
        own = _attempt_id(request)
        for limit in binding:
            if entries.count < limit.limit:
                continue
            counted = limit.counted
            count = _used(
                entries, counted.window_us, counted.resets, held.amount if limit.same_amount else -1, at, own
            )
            if count >= limit.limit:
                fillings[0].whole = count
                fillings[1].whole = limit.limit
                fillings[2].whole = limit.window_seconds
                source = limit.bound.id
                fillings[3].text = <PyObject *>source
                said.append(p_attempt_limit.reason(fillings))
                return True
        return False

    cdef bint _odds(self, Lineup *lineup, Ways *ways, double margin, bint compare, double *odds) except -1:
        """Say with which probability each candidate in the running is drawn, as `service.policy.lineup.odds_of`."""
        cdef int count = lineup.running
        cdef int on = 0
        cdef int up, place, kind
        cdef Candidate *one
        cdef Weighed *best
        cdef Weighed *mine
        cdef double[MOST_CANDIDATES] losses
        cdef double[MOST_CANDIDATES] doubts
        cdef double passing
        odds[0] = 1.0
        for place in range(1, count):
            odds[place] = 0.0
        if count == 1 or lineup.forced:
            return True
        if not lineup.every[lineup.runners[0]].trial:
            for place in range(count - 1, -1, -1):
                if not lineup.every[lineup.runners[place]].trial:
                    break
                on += 1
        up = count - on
        if compare and self._exploration > 0.0 and up > 1:
            best = &lineup.every[lineup.runners[0]].ways[0]
            kind = best.kind
            for place in range(up):
                one = &lineup.every[lineup.runners[place]]
                mine = &one.ways[0]
                passing = ways.every[mine.way].passing
                if mine.kind != kind:
                    losses[place], doubts[place] = INFINITY, 0.0
                elif kind:
                    losses[place] = ways.every[best.way].passing * best.p - passing * mine.p
                    doubts[place] = passing * mine.p * (1.0 - mine.unbroken) * one.doubt
                else:
                    losses[place] = best.value - mine.value
                    doubts[place] = mine.gain * mine.p * (1.0 - mine.unbroken) * one.doubt
            if not _shares(losses, doubts, up, BOUND if kind else BOUND * margin, self._floor, self._exploration, odds):
                return False
        if on:
            return _on_trial(odds, up, on, self._probe, self._exploration)
        return True

    cdef Action _tell(
        self, request, Action action, Candidate *chosen, Corridor corridor, Deal deal, Held *held, Ways *ways,
        tuple processors, list said,
    ) except *:
        """Give the reasons for the way of sending; return the action."""
        cdef Filling[MOST_PARTS] fillings
        cdef Way *way = &ways.every[chosen.ways[0].way]
        cdef PyObject *name = PyTuple_GET_ITEM(processors, chosen.index)
        cdef bint found = False
        cdef double other = 0.0
        cdef int place
        if held.demanded:
            fillings[0].number = held.risk
            fillings[1].number = deal.challenge_from
            if not way.challenge:
                fillings[2].text = name
                said.insert(1, p_unsupported.reason(fillings))
                return Action.REVIEW
            said.insert(1, p_risk_challenge.reason(fillings))
        if held.duty == Duty.REQUIRED or held.duty == Duty.USED_UP:
            said.append(self._duty(request, corridor, deal, held))
            if not way.challenge:
                if held.present:
                    fillings[0].text = name
                    said.append(p_sent_without.reason(fillings))
                else:
                    fillings[0].text = <PyObject *>_ROUTING
                    said.append(p_sent_as_asked.reason(fillings))
        elif way.challenge:
            for place in range(chosen.count):
                if not ways.every[chosen.ways[place].way].challenge:
                    if not found or chosen.ways[place].value > other:
                        other = chosen.ways[place].value
                    found = True
            if found and not held.demanded:
                fillings[0].number = chosen.ways[0].value
                fillings[1].number = other
                said.append(p_challenge_pays.reason(fillings))
        elif held.duty != Duty.NO_DUTY:
            said.append(self._duty(request, corridor, deal, held))
        return action

    cdef object _duty(self, request, Corridor corridor, Deal deal, Held *held):
        """Return the reason of a duty to authenticate, or of its exemption."""
        cdef Filling[MOST_PARTS] fillings
        cdef PyObject *currency = _field(request, CURRENCY)
        if held.duty == Duty.ONE_LEG_OUT:
            return corridor.one_leg
        if held.duty == Duty.MERCHANT_INITIATED:
            return corridor.absent
        if held.duty == Duty.REQUIRED:
            return corridor.required
        if held.duty == Duty.LOW_VALUE:
            fillings[0].whole = held.amount
            fillings[1].whole = corridor.below
            fillings[2].text = currency
            fillings[3].text = <PyObject *>corridor.source
            return p_low_value.reason(fillings)
        if held.duty == Duty.RISK_ANALYSIS:
            source = <str>corridor.band_ids[held.band]
            fillings[0].whole = held.amount
            fillings[1].whole = corridor.up_to[held.band]
            fillings[2].text = currency
            fillings[3].number = deal.fraud
            fillings[4].number = corridor.rates[held.band]
            fillings[5].text = <PyObject *>source
            return p_risk_analysis.reason(fillings)
        fillings[0].whole = held.low_count
        fillings[1].whole = held.low_total
        fillings[2].whole = corridor.payments
        fillings[3].whole = corridor.cumulated
        fillings[4].text = <PyObject *>corridor.counter
        return p_used_up.reason(fillings)

    cdef object _made(
        self, Action action, Candidate *chosen, bint sent, bint challenged, Corridor corridor, tuple processors,
        list said, Held *held, Ways *ways, Lineup *lineup, double *odds,
    ):
        """Return the choice."""
        cdef object made = pm_blank(<PyObject *>choice.Choice)
        cdef PyObject *raw = <PyObject *>made
        cdef PyObject *none = <PyObject *>None
        cdef Way *way = &ways.every[chosen.ways[0].way] if chosen != NULL else NULL
        cdef object ranking = _ranking(lineup, ways, processors, odds)
        cdef object reasons = tuple(said if len(said) <= MOST_REASONS else said[:MOST_REASONS])
        cdef object reservation = None
        cdef tuple binding = <tuple>corridor.binding[held.initiator]
        if binding and sent:
            reservation = corridor.reserved[held.initiator]
            if reservation is None:
                reservation = tuple([limit.of(held.amount) for limit in binding])
        index = chosen.index if sent else None
        pm_put(raw, C_ACTION, PyTuple_GET_ITEM(_ACTIONS, <int>action))
        pm_put(raw, C_INDEX, <PyObject *>index)
        pm_put(raw, C_PROCESSOR, PyTuple_GET_ITEM(processors, chosen.index) if sent else none)
        if chosen == NULL:
            pm_put(raw, C_APPROVAL, none)
        else:
            pm_give(raw, C_APPROVAL, PyFloat_New(chosen.ways[0].p))
        pm_put(raw, C_RANKING, <PyObject *>ranking)
        pm_put(raw, C_TIER, PyTuple_GET_ITEM(_TIERS, held.tier))
        pm_put(raw, C_THREE_DS, <PyObject *>(_CHALLENGE if challenged else _NONE))
        pm_put(raw, C_EXEMPTION, PyTuple_GET_ITEM(_EXEMPTIONS, <int>held.duty) if sent and not challenged else none)
        pm_put(raw, C_REASONS, <PyObject *>reasons)
        if sent:
            pm_put(raw, C_LIABILITY, <PyObject *>(_ISSUER if way.secure else _MERCHANT))
            pm_put(raw, C_CREDENTIAL, way.credential)
        else:
            pm_put(raw, C_LIABILITY, none)
            pm_put(raw, C_CREDENTIAL, none)
        pm_put(raw, C_RESERVATION, <PyObject *>reservation)
        return made


cdef bint _fits(request, processors, variants) except -1:
    """Say whether request, candidates and variants are of the types that C reads."""
    cdef Py_ssize_t place
    if not isinstance(request, Payment) or not PyTuple_CheckExact(processors) or not PyTuple_CheckExact(variants):
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


cdef inline bint _listed(object value):
    return PyTuple_CheckExact(value) or PyList_CheckExact(value)


cdef int64_t _whole(object value) except? -1:
    """Return an int that is a double without rounding; OverflowError for another."""
    cdef int64_t whole = value
    if not -EXACT <= whole <= EXACT:
        raise OverflowError("expected less than 2^53")
    return whole


cdef object _packed(object ledger, Ledger *found):
    """Find the entries of a ledger, packed or read; return what owns them."""
    cdef uint16_t count
    cdef bytes packed
    found.count, found.entries = 0, NULL
    if ledger is None:
        return None
    if PyBytes_CheckExact(ledger):
        packed = ledger
        if PyBytes_GET_SIZE(packed) < 3 or PyBytes_AS_STRING(packed)[0] != 1:
            return None
        memcpy(&count, PyBytes_AS_STRING(packed) + 1, 2)
        if count > MOST_ENTRIES or PyBytes_GET_SIZE(packed) != 3 + ENTRY_SIZE * count:
            return None
        found.entries, found.count = PyBytes_AS_STRING(packed) + 3, count
        return packed
    if not _listed(ledger):
        raise TypeError("expected a ledger")
    if not ledger:
        return None
    try:
        packed = b"".join([ENTRY.pack(*entry) for entry in ledger])
    except Exception as error:
        raise TypeError("expected entries") from error
    found.entries, found.count = PyBytes_AS_STRING(packed), <int>(PyBytes_GET_SIZE(packed) // ENTRY_SIZE)
    return packed


cdef uint64_t _attempt_id(request) except? 0:
    """`service.ledger.attempt_id` of the attempt asked about."""
    cdef char[1100] text
    cdef Py_ssize_t size
    cdef int64_t attempt = <object>_field(request, ATTEMPT)
    cdef const char *name = PyUnicode_AsUTF8AndSize(<object>_field(request, PAYMENT_ID), &size)
    cdef int head = snprintf(text, 32, "%lld:", <long long>attempt)
    if size > 1024:
        raise OverflowError("expected a shorter id")
    memcpy(text + head, name, size)
    return digest_of(text, head + size) >> 11


cdef double _draw_of(request) except? -1.0:
    """`service.policy.exploration.draw_of` of the question."""
    cdef char[1100] text
    cdef Py_ssize_t size
    cdef int64_t attempt = <object>_field(request, ATTEMPT)
    cdef const char *name = PyUnicode_AsUTF8AndSize(<object>_field(request, PAYMENT_ID), &size)
    cdef uint64_t digest, big = 0
    cdef double draw
    cdef int place
    if size > 1024:
        raise OverflowError("expected a shorter id")
    memcpy(text, name, size)
    digest = digest_of(text, size + snprintf(text + size, 32, ":%lld", <long long>attempt))
    # The pure one reads the digest's bytes as a big endian number.
    for place in range(8):
        big = (big << 8) | (digest & 0xFF)
        digest >>= 8
    draw = <double>big / RANGE
    return BELOW_ONE if BELOW_ONE < draw else draw


cdef struct Entry:
    int64_t at
    uint64_t attempt
    uint64_t amount
    uint8_t status


cdef inline Entry _entry(Ledger *ledger, int place) noexcept:
    cdef Entry entry
    cdef const char *raw = ledger.entries + ENTRY_SIZE * place
    memcpy(&entry.at, raw, 8)
    memcpy(&entry.attempt, raw + 8, 8)
    memcpy(&entry.amount, raw + 16, 8)
    memcpy(&entry.status, raw + 24, 1)
    return entry


cdef int64_t _used(
    Ledger *ledger, int64_t window, bint resets, int64_t amount, int64_t at, uint64_t own
) noexcept:
    """`service.ledger.used`; an amount of -1 is any."""
    cdef int64_t oldest = at - window
    cdef int64_t start = oldest
    cdef int64_t count = 0
    cdef Entry entry
    cdef int place
    if resets:
        for place in range(ledger.count):
            entry = _entry(ledger, place)
            if entry.status == APPROVED and start < entry.at <= at and entry.attempt != own:
                start = entry.at
    for place in range(ledger.count):
        entry = _entry(ledger, place)
        if (
            entry.status != APPROVED
            and entry.at > (oldest if entry.status == RESERVED else start)
            and entry.attempt != own
            and (amount < 0 or entry.amount == <uint64_t>amount)
        ):
            count += 1
    return count


cdef bint _counted(request, Corridor corridor, Ledger *ledger, Held *held) except -1:
    """Say whether the issuer's counters of low value payments are known to be used up (`service.policy.exemption`)."""
    cdef uint64_t own
    cdef Entry entry
    cdef int place
    if not corridor.has_counter or ledger.count == 0:
        return False
    own = _attempt_id(request)
    held.low_count = held.low_total = 0
    for place in range(ledger.count - 1, -1, -1):
        entry = _entry(ledger, place)
        if entry.status == FAILED or entry.attempt == own:
            continue
        if corridor.below <= 0 or entry.amount >= <uint64_t>corridor.below:
            break
        held.low_count += 1
        held.low_total += <int64_t>entry.amount
    return not (
        held.low_count < corridor.payments and held.low_total + held.amount <= corridor.cumulated
    )


cdef int _usable(Ways *ways, bint token, bint secure, int *open_, int *lacking) noexcept:
    """Keep the allowed ways that a processor can do, as `service.policy.lineup`; return how many.

    Where there is none, `lacking` says why what is kept may be tried all the same: 1 for tokens, 2 for authentications.
    """
    cdef int place, count = 0
    cdef bint all_secure = True
    cdef Way *way
    lacking[0] = 0
    for place in range(ways.allowed):
        way = &ways.every[ways.first + place]
        all_secure = all_secure and way.secure
        if (token or not way.token) and (secure or not way.secure):
            open_[count] = ways.first + place
            count += 1
    if count:
        return count
    if secure or not all_secure:
        for place in range(ways.allowed):
            open_[place] = ways.first + place
        lacking[0] = 1
        return ways.allowed
    for place in range(ways.asked):
        open_[place] = place
    lacking[0] = 2
    return ways.asked


cdef inline bint _before(Weighed *one, Weighed *other) noexcept:
    """Say whether a way comes before another one of the same candidate."""
    if one.kind != other.kind:
        return one.kind < other.kind
    if one.lead != other.lead:
        return one.lead < other.lead
    return one.kind == 1 and one.follow < other.follow


cdef inline bint _ahead(Candidate *one, Candidate *other, bint trials) noexcept:
    """Say whether a candidate comes before another one; those on trial, if that counts, behind the others."""
    cdef Weighed *mine = &one.ways[0]
    cdef Weighed *theirs = &other.ways[0]
    if trials and one.trial != other.trial:
        return other.trial
    if mine.kind != theirs.kind:
        return mine.kind < theirs.kind
    if mine.lead != theirs.lead:
        return mine.lead < theirs.lead
    if mine.kind == 1 and mine.follow != theirs.follow:
        return mine.follow < theirs.follow
    if one.slow != other.slow:
        return other.slow
    return one.index < other.index


cdef void _sort(Lineup *lineup, bint trials) noexcept:
    """Put those in the running in order, the best first."""
    cdef int place, back, mine
    for place in range(1, lineup.running):
        mine = lineup.runners[place]
        back = place
        while back > 0 and _ahead(&lineup.every[mine], &lineup.every[lineup.runners[back - 1]], trials):
            lineup.runners[back] = lineup.runners[back - 1]
            back -= 1
        lineup.runners[back] = mine


cdef int _least_bad(Lineup *lineup) except -1:
    """Take those with the least severe codes into the running."""
    cdef int place, kept = 0
    cdef list ranks = [severity(<object>lineup.every[lineup.outs[place]].codes) for place in range(lineup.out)]
    least = min([rank for rank in ranks if rank is not None], default=None)
    if least is None:
        return 0
    for place in range(lineup.out):
        if ranks[place] == least:
            lineup.runners[lineup.running] = lineup.outs[place]
            lineup.running += 1
        else:
            lineup.outs[kept] = lineup.outs[place]
            kept += 1
    lineup.out = kept
    return 0


cdef Action _judge(Held *held, Deal deal, Lineup *lineup, list said) except *:
    """Settle what risk and the best approval probability demand of an auth request, but for a challenge."""
    cdef Filling[MOST_PARTS] fillings
    cdef double best
    cdef int place
    fillings[0].number = held.risk
    if held.risk >= deal.decline_from:
        fillings[1].number = deal.decline_from
        said.append(p_risk_decline.reason(fillings))
        return Action.DECLINE
    if lineup.running:
        best = lineup.every[lineup.runners[0]].ways[0].unbroken
        for place in range(1, lineup.running):
            if lineup.every[lineup.runners[place]].ways[0].unbroken > best:
                best = lineup.every[lineup.runners[place]].ways[0].unbroken
        if best < deal.minimum_approval:
            fillings[0].number = best
            fillings[1].number = deal.minimum_approval
            said.append(p_low_approval.reason(fillings))
            return Action.DECLINE
    if held.risk >= deal.review_from:
        fillings[1].number = deal.review_from
        said.append(p_risk_review.reason(fillings))
        return Action.REVIEW
    if held.risk >= deal.challenge_from:
        fillings[1].number = deal.challenge_from
        if held.initiator == 1:
            said.append(p_customer_absent.reason(fillings))
            return Action.REVIEW
        if held.secure:
            said.append(p_already_authenticated.reason(fillings))
    return Action.APPROVE


cdef bint _shares(
    double *losses, double *doubts, int count, double bound, double floor, double total, double *odds
) noexcept:
    """`service.policy.exploration.shares` of two candidates or more; False where a number is none."""
    cdef double own = doubts[0]
    cdef double least = total / (count - 1)
    cdef double[MOST_CANDIDATES] above
    cdef double spare = total
    cdef double wanted = 0.0
    cdef double rest = 1.0
    cdef double base, doubt, error, better, ratio, share
    cdef int place
    if not least < floor:
        least = floor
    above[0] = 0.0
    for place in range(1, count):
        above[place] = 0.0
        base = least if losses[place] <= bound else 0.0
        doubt = doubts[place]
        error = sqrt(doubt * doubt + own * own)
        better = 0.5 * erfc(losses[place] / (error * ROOT_2)) if error > 0.0 else 0.0
        odds[place] = base
        spare -= base
        if better > base:
            above[place] = better - base
    for place in range(count):
        wanted += above[place]
    if 0.0 > spare:
        spare = 0.0
    ratio = 1.0 if wanted <= spare else spare / wanted
    for place in range(1, count):
        share = (odds[place] + ratio * above[place]) * GRAIN
        if not isfinite(share):
            return False
        share = trunc(share) / GRAIN
        odds[place] = share
        rest -= share
    odds[0] = rest
    return True


cdef bint _on_trial(double *odds, int up, int count, double share, double total) noexcept:
    """`service.policy.exploration.on_trial`: `up` odds are there, those of `count` candidates on trial come behind them."""
    cdef double most = MOST_ON_TRIAL / count
    cdef double each = trunc((most if most < share else share) * GRAIN) / GRAIN
    cdef double drawn = 1.0 - odds[0]
    cdef double left = total - each * count
    cdef double others = 0.0
    cdef double one
    cdef int place
    if 0.0 > left:
        left = 0.0
    if drawn > left:
        for place in range(up):
            one = odds[place] * left / drawn * GRAIN
            if not isfinite(one):
                return False
            odds[place] = trunc(one) / GRAIN
    for place in range(up, up + count):
        odds[place] = each
    for place in range(1, up + count):
        others += odds[place]
    odds[0] = 1.0 - others
    return True


cdef int _pick(double draw, double *odds, int count) noexcept:
    """`service.policy.exploration.pick`."""
    cdef double reached = 0.0
    cdef int place
    for place in range(1, count):
        reached += odds[place]
        if draw < reached:
            return place
    return 0


cdef int _explain(Lineup *lineup, int place, double *odds, tuple processors, list said) except -1:
    """Give the reason why a candidate was chosen."""
    cdef Filling[MOST_PARTS] fillings
    cdef Candidate *best = &lineup.every[lineup.runners[0]]
    cdef Candidate *chosen = &lineup.every[lineup.runners[place]]
    cdef Candidate *second
    cdef PyObject *name = PyTuple_GET_ITEM(processors, best.index)
    if place:
        fillings[0].text = PyTuple_GET_ITEM(processors, chosen.index)
        fillings[1].number = odds[place]
        fillings[2].text = name
        said.append(p_probed.reason(fillings) if chosen.trial else p_explored.reason(fillings))
        return 0
    fillings[0].text = name
    if best.ways[0].kind:
        fillings[1].number = best.ways[0].p
        said.append(p_highest_approval.reason(fillings))
        return 0
    if lineup.running > 1:
        second = &lineup.every[lineup.runners[1]]
        if second.ways[0].value == best.ways[0].value and second.ways[0].kind == 0:
            fillings[1].text = PyTuple_GET_ITEM(processors, second.index)
            fillings[2].number = best.ways[0].value
            said.append(p_static_order.reason(fillings))
            return 0
    fillings[1].number = best.ways[0].value
    fillings[2].number = best.ways[0].p
    said.append(p_best_value.reason(fillings))
    return 0


cdef object _ranking(Lineup *lineup, Ways *ways, tuple processors, double *odds):
    """Return the candidates as an answer ranks them: those in the running, then the others in the static order."""
    cdef int count = lineup.running + lineup.out + lineup.refused
    cdef int place, out = 0, refused = 0
    cdef object ranking = PyTuple_New(count)
    cdef object entry
    for place in range(count):
        if place < lineup.running:
            entry = _ranked(&lineup.every[lineup.runners[place]], ways, processors, odds[place])
        elif refused >= lineup.refused or (out < lineup.out and lineup.outs[out] < lineup.refusals[refused]):
            entry = _ranked(&lineup.every[lineup.outs[out]], ways, processors, 0.0)
            out += 1
        else:
            entry = _refused(
                <object>PyTuple_GET_ITEM(processors, lineup.refusals[refused]),
                lineup.repeated[lineup.refusals[refused]],
            )
            refused += 1
        Py_INCREF(entry)
        PyTuple_SET_ITEM(ranking, place, entry)
    return ranking


cdef object _ranked(Candidate *one, Ways *ways, tuple processors, double odds):
    cdef object made = pm_blank(<PyObject *>RankedProcessor)
    cdef PyObject *raw = <PyObject *>made
    cdef object modes = _NO_CODES
    cdef object mode
    cdef int place
    pm_put(raw, R_PROCESSOR, PyTuple_GET_ITEM(processors, one.index))
    pm_give(raw, R_APPROVAL, PyFloat_New(one.ways[0].p))
    # As Python rounds: half to even.
    pm_give(raw, R_COST, PyLong_New(rint(one.ways[0].cost)))
    pm_give(raw, R_VALUE, PyFloat_New(one.ways[0].value))
    if odds == 0.0:
        pm_put(raw, R_PROPENSITY, <PyObject *>_ZERO)
    elif odds == 1.0:
        pm_put(raw, R_PROPENSITY, <PyObject *>_ONE)
    else:
        pm_give(raw, R_PROPENSITY, PyFloat_New(odds))
    pm_put(raw, R_ELIGIBLE, <PyObject *>(_FALSE if PyTuple_GET_SIZE(<object>one.codes) else _TRUE))
    pm_put(raw, R_REASONS, one.codes)
    if one.count > 1:
        modes = PyTuple_New(one.count)
        for place in range(one.count):
            mode = _mode(&one.ways[place], ways, raw if place == 0 else NULL)
            Py_INCREF(mode)
            PyTuple_SET_ITEM(modes, place, mode)
    pm_put(raw, R_MODES, <PyObject *>modes)
    return made


cdef object _mode(Weighed *weighed, Ways *ways, PyObject *ranked):
    """Return a way of sending; the best one shares its numbers with its candidate."""
    cdef object made = pm_blank(<PyObject *>Mode)
    cdef PyObject *raw = <PyObject *>made
    cdef Way *way = &ways.every[weighed.way]
    pm_put(raw, M_AUTHENTICATION, PyTuple_GET_ITEM(_LABELS, <int>way.label))
    pm_put(raw, M_CREDENTIAL, way.credential)
    if ranked != NULL:
        pm_put(raw, M_APPROVAL, pm_at(ranked, R_APPROVAL))
        pm_put(raw, M_VALUE, pm_at(ranked, R_VALUE))
    else:
        pm_give(raw, M_APPROVAL, PyFloat_New(weighed.p))
        pm_give(raw, M_VALUE, PyFloat_New(weighed.value))
    return made


cdef object _refused(object processor, bint repeated):
    return RankedProcessor(
        processor=processor,
        approval_probability=0.0,
        cost_minor=0,
        expected_value_minor=0.0,
        propensity=0.0,
        eligible=False,
        reasons=("repeated" if repeated else "no_estimate",),
    )
