# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""The best permitted retry of an ordinary day, over C doubles: what `service.policy.plan` puts together and `.grid` weighs.

Ordinary: every candidate is up, nothing is known against any, no volume was agreed, limits stay as they are and their attempts cost
nothing. Everything else, and what has no answer, is left to the pure modules, which make the same operations in the same order:
tests compare the two to the last bit.
"""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject, PyTypeObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport INFINITY, exp, isfinite
from libc.stdint cimport int64_t

from contracts.inputs import Standing, Variant
from contracts.payment import RetryRequest
from service.policy import grid, plan
from service.policy.outlook import fades
from service.policy.permit import Permit

from service.policy.facts_native cimport MOST_CANDIDATES, Corridor, Deal, Facts, Fares, Panel
from service.policy.structs cimport place_of, pm_at

cdef extern from "Python.h":
    bint PyObject_TypeCheck(object value, PyTypeObject *type)
    PyObject **PySequence_Fast_ITEMS(object sequence)
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)

cdef int64_t EXACT = 1 << 53
cdef double IMPATIENCE = grid.IMPATIENCE
cdef int64_t FADED_SECONDS = grid._FADED_SECONDS
cdef int64_t PRESENT_SECONDS = plan.PRESENT_SECONDS
cdef double MOST_SHIFT = plan._MOST_SHIFT
cdef object _Retry = grid.Retry
cdef str _UP = "up"
cdef str _THREE_DS = "three_ds"

cdef Py_ssize_t MERCHANT_ID = place_of(RetryRequest, "merchant_id")
cdef Py_ssize_t AMOUNT = place_of(RetryRequest, "amount_minor")
cdef Py_ssize_t AUTHENTICATION = place_of(Variant, "authentication")
cdef Py_ssize_t HEALTH = place_of(Standing, "health")
cdef Py_ssize_t EXCESS = place_of(Standing, "excess")
cdef Py_ssize_t SHIFT = place_of(Standing, "shift")


cdef struct Column:
    int place
    int64_t soonest
    double gain
    double failed
    double excess
    double shift


cdef struct Found:
    bint there
    double score
    double p
    double worth
    int64_t wait
    int place
    PyObject *mode


cdef class Planning:
    """Finds the best retry for one bundle.

    Parameters
    ----------
    parameters : PolicyParameters
        Of the bundle.
    facts : Facts
        What it, its rules and its merchants settle beforehand.
    """

    cdef Facts _facts
    cdef double _abandonment, _least
    cdef bint _dear

    def __init__(self, parameters, Facts facts not None):
        self._facts = facts
        self._abandonment = parameters.challenge_abandonment
        self._least = parameters.retry.minimum_probability
        self._dear = bool(parameters.quota_value_minor)

    def best(self, request, permit, processors, waits, modes, probability, at, standings):
        """Return the best retry, and the best after another wait or sent in another way; None where only the pure one can say.

        Parameters
        ----------
        request, permit, processors, waits, modes, probability, standings
            As `Policy.plan` takes them.
        at : int
            Moment of the question, microseconds.
        """
        try:
            return self._best(request, permit, processors, waits, modes, probability, at, standings)
        except (OverflowError, TypeError):
            return None

    cdef object _best(self, request, permit, processors, waits, modes, probability, int64_t at, standings):
        cdef Column[MOST_CANDIDATES] columns
        cdef Found best, second
        cdef Panel panel
        cdef Fares fares
        cdef Deal deal
        cdef Corridor corridor
        cdef int64_t earliest, latest, last, wait
        cdef double reached, settled
        cdef Py_ssize_t way, row, width
        cdef int count
        cdef bint asks
        best.there = second.there = False
        if not PyObject_TypeCheck(request, <PyTypeObject *>RetryRequest) or type(permit) is not Permit or at < 0:
            return None
        for each in (processors, waits, modes):
            if not PyTuple_CheckExact(each):
                return None
        width = PyTuple_GET_SIZE(waits)
        if not _listed(probability) or PySequence_Fast_GET_SIZE(probability) != width * PyTuple_GET_SIZE(modes):
            return None
        periods = permit.periods
        if len(periods) != 1 or (self._dear and periods[0].budgets):
            return None
        panel = self._facts.panel(processors)
        deal = self._facts.deal(<object>pm_at(<PyObject *>request, MERCHANT_ID))
        if not panel.sound or panel.any_limited or deal.volumes:
            return None
        corridor = self._facts.corridor(request, at)
        fares = self._facts.fares(panel, corridor.tariff)
        earliest, last = permit.earliest_seconds, permit.latest_seconds
        for way in range(PyTuple_GET_SIZE(modes)):
            mode = <object>PyTuple_GET_ITEM(modes, way)
            if type(mode) is not Variant:
                return None
            asks = <object>pm_at(<PyObject *>mode, AUTHENTICATION) == _THREE_DS and not request.uses_3ds
            reached = 1.0 - self._abandonment if asks else 1.0
            latest = PRESENT_SECONDS if asks and PRESENT_SECONDS < last else last
            count = _columns(request, permit, panel, fares, deal, standings, asks, reached, earliest, columns)
            if count < 0:
                return None
            settled = _settled(columns, count)
            for row in range(width):
                wait = <object>PyTuple_GET_ITEM(waits, row)
                if not 0 <= wait < EXACT:
                    return None
                if not earliest <= wait <= latest:
                    continue
                likely = <object>PySequence_Fast_ITEMS(probability)[way * width + row]
                if not _listed(likely) or PySequence_Fast_GET_SIZE(likely) < panel.count:
                    return None
                if not self._row(wait, settled, likely, columns, count, reached, mode, &best, &second):
                    return None
        if not best.there:
            return None
        return _retry(&best), _retry(&second)

    cdef bint _row(
        self, int64_t wait, double settled, likely, Column *columns, int count, double reached, mode, Found *best, Found *second
    ) except -1:
        """Weigh one wait, as `_far` and `_near` of `service.policy.grid`; False where a probability is no float."""
        cdef PyObject **cells = PySequence_Fast_ITEMS(likely)
        cdef Found one
        cdef double found = -INFINITY
        cdef double faults = 0.0
        cdef double shifts = 0.0
        cdef double p, worth, odds
        cdef bint near = wait < settled
        cdef int place
        one.there, one.place, one.p = False, -1, -1.0
        if near and wait < FADED_SECONDS:
            left, other = fades(wait)
            faults, shifts = left, other
        for place in range(count):
            cell = <object>cells[columns[place].place]
            if not PyFloat_CheckExact(cell):
                return False
            p = PyFloat_AS_DOUBLE(cell)
            if not 0.0 <= p <= 1.0 or (near and wait < columns[place].soonest):
                continue
            if near and columns[place].shift != 0.0:
                odds = exp(columns[place].shift * shifts) * p
                p = odds / (odds + (1.0 - p))
            if near and columns[place].excess != 0.0:
                p *= 1.0 - columns[place].excess * faults
            if p >= self._least:
                worth = p * (columns[place].gain + 0.0) - columns[place].failed
                if worth > found or (worth == found and p > one.p):
                    found, one.p, one.place, one.there = worth, p, columns[place].place, True
        if not one.there:
            return True
        one.worth = (found - 0.0) * reached
        one.score = one.worth * (1.0 - wait * IMPATIENCE) if one.worth > 0.0 else one.worth
        if not isfinite(one.score):
            return False
        one.wait, one.mode = wait, <PyObject *>mode
        if not best.there or one.score > best.score or (one.score == best.score and one.p > best.p):
            second[0] = best[0]
            best[0] = one
        elif not second.there or one.score > second.score:
            second[0] = one
        return True


cdef int _columns(
    request, permit, Panel panel, Fares fares, Deal deal, standings, bint asks, double reached, int64_t earliest,
    Column *columns,
) except -2:
    """Keep the candidates that may be used in one way, as `Planner._columns`; -1 where one is not as on ordinary days."""
    cdef int64_t amount = <object>pm_at(<PyObject *>request, AMOUNT)
    cdef int64_t same = permit.same_processor_seconds
    cdef int64_t elsewhere = earliest if permit.cascade else same
    cdef double margin = amount * deal.margin_share
    cdef double approved, excess, shift
    cdef PyObject **told = NULL
    cdef int place, count = 0
    cdef Column *one
    cdef str declined = request.decline.processor
    cdef bint again = permit.same_processor
    if not 0 <= amount < EXACT or not -EXACT < same < EXACT or not _listed(standings):
        return -1
    if standings:
        if PySequence_Fast_GET_SIZE(standings) != panel.count:
            return -1
        told = PySequence_Fast_ITEMS(standings)
    for place in range(panel.count):
        excess = shift = 0.0
        if told != NULL:
            standing = <object>told[place]
            if type(standing) is not Standing:
                return -1
            if <object>pm_at(<PyObject *>standing, HEALTH) != _UP:
                return -1
            excess = _number(pm_at(<PyObject *>standing, EXCESS))
            shift = _number(pm_at(<PyObject *>standing, SHIFT))
        one = &columns[count]
        one.soonest = elsewhere
        if <object>PyTuple_GET_ITEM(panel.processors, place) == declined:
            if not again:
                continue
            one.soonest = same
        approved = fares.fixed[place] + amount * fares.share[place]
        if not -MOST_SHIFT <= shift <= MOST_SHIFT:
            shift = MOST_SHIFT if MOST_SHIFT < shift else shift
            shift = shift if shift > -MOST_SHIFT else -MOST_SHIFT
        one.place, one.excess, one.shift = place, excess, shift
        one.gain = margin - approved + fares.failed[place]
        one.failed = fares.failed[place] + panel.three_ds[place] / reached if asks else fares.failed[place]
        if asks and reached == 0.0:
            return -1
        count += 1
    return count


cdef double _settled(Column *columns, int count) noexcept:
    """Return the wait from which on every candidate is there, and no standing matters any more."""
    cdef double settled = 0.0
    cdef int place
    for place in range(count):
        if (columns[place].excess != 0.0 or columns[place].shift != 0.0) and FADED_SECONDS > settled:
            settled = FADED_SECONDS
        if columns[place].soonest > settled:
            settled = columns[place].soonest
    return settled


cdef inline bint _listed(object value):
    return PyTuple_CheckExact(value) or PyList_CheckExact(value)


cdef double _number(PyObject *value) except? -1.0:
    if PyFloat_CheckExact(<object>value):
        return PyFloat_AS_DOUBLE(<object>value)
    if PyLong_CheckExact(<object>value):
        return <double><object>value
    raise TypeError("expected a number")


cdef object _retry(Found *found):
    if not found.there:
        return None
    return _Retry(found.score, found.p, found.worth, found.wait, found.place, <object>found.mode)
