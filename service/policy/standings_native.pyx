# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""`service.policy.standings` over C doubles: the same operations in the same order, so the same to the last bit.

Only what is rare is left to Python: what is concluded of a level in trouble. This module must not know what the sums mean; the
pure one says it, and tests compare the two.
"""

import sys

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.list cimport PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport exp, exp2, signbit, sqrt
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from contracts.inputs import Standing
from service.policy import adaptation, health
from service.policy.standings import standings_of as pure
from service.standing import FORM, LEVELS, MEASURES, SCALES, VERSION, month_of

from service.policy.structs cimport place_of, pm_blank, pm_give, pm_put

cdef extern from "Python.h":
    PyObject *PyFloat_New "PyFloat_FromDouble"(double value) except NULL

if sys.byteorder != "little":
    raise ImportError("standings are little endian")
if (len(LEVELS), len(SCALES), len(MEASURES), FORM.size) != (3, 4, 7, 245) or LEVELS[2] != "merchant":
    raise ImportError("standings have another form")

cdef enum:
    WIDTH = 3
    SUMS = 28
    SIZE = 245
    # Places of the sums: scale * 7 + measure.
    N0 = 0
    F0 = 1
    T0 = 5
    L0 = 6
    N1 = 7
    F1 = 8
    T1 = 12
    L1 = 13
    N2 = 14
    F2 = 15
    A2 = 16
    E2 = 17
    V2 = 18
    T2 = 19
    L2 = 20
    N3 = 21
    F3 = 22
    A3 = 23
    E3 = 24
    V3 = 25
    T3 = 26
    L3 = 27

cdef double USUAL = health.USUAL
cdef double STRENGTH = health.STRENGTH
cdef double MOST = health.MOST
cdef double FEWEST = health.FEWEST
cdef double BASE = health.SCREEN_SHARE[0]
cdef double SLOPE = health.SCREEN_SHARE[1]
cdef double SCREEN_EXCESS = health.SCREEN_EXCESS
cdef double TIMED = health.TIMED
cdef double STEADY = health.STEADY
cdef double SLOW = health.SLOW
cdef double BOUND = adaptation.BOUND
cdef double CHANCE = adaptation.CHANCE
cdef double RESTLESS = adaptation.RESTLESS
cdef double RESTLESS_FROM = adaptation.RESTLESS_FROM
cdef double[3] PRIOR = adaptation.PRIOR
cdef double[3] PRIOR_FAST = adaptation.PRIOR_FAST
cdef double SECOND = 1_000_000.0
cdef int64_t SOON = 1_000_000
cdef double SCALE_0 = SCALES[0]
cdef double SCALE_1 = SCALES[1]
cdef double FADE_FAST = -1.0 / SCALES[2]
cdef double FADE_SLOW = -1.0 / SCALES[3]
cdef int64_t LONGEST = 1 << 53
"""Up to here an int64 is a double without rounding, as in Python's own division."""

cdef object _Level = health.Level
cdef object _trouble = health.trouble
cdef object _narrowed = health.narrowed

cdef Py_ssize_t HEALTH = place_of(Standing, "health")
cdef Py_ssize_t EXCESS = place_of(Standing, "excess")
cdef Py_ssize_t SLOWDOWN = place_of(Standing, "slowdown")
cdef Py_ssize_t SHIFT = place_of(Standing, "shift")
cdef Py_ssize_t DOUBT = place_of(Standing, "doubt")
cdef Py_ssize_t MONTH_MINOR = place_of(Standing, "month_minor")

cdef object UP = "up"
cdef object ZERO = 0.0
cdef object ONE = 1.0


def standings_of(processors, blobs, at, *, known=None, double spread=0.5):
    """Conclude how each candidate has been doing; as `service.policy.standings.standings_of`."""
    cdef Py_ssize_t count, place
    cdef object found, standing
    cdef double first, least
    cdef int64_t moment
    cdef int32_t month
    if not PyTuple_CheckExact(processors) or not (PyTuple_CheckExact(blobs) or PyList_CheckExact(blobs)):
        return pure(processors, blobs, at, known=known, spread=spread)
    try:
        moment = at
    except OverflowError:
        moment = -1
    if moment < 0:
        return pure(processors, blobs, at, known=known, spread=spread)
    count = PyTuple_GET_SIZE(processors)
    month = month_of(at)
    # max(spread * spread, 1e-6) and min(1 / that, PRIOR[0]) as Python takes them.
    first = spread * spread
    if 1e-6 > first:
        first = 1e-6
    first = 1.0 / first
    if PRIOR[0] < first:
        first = PRIOR[0]
    found = PyTuple_New(count)
    for place in range(count):
        least = PRIOR[0]
        if known is not None and <object>PyTuple_GET_ITEM(processors, place) not in known:
            least = first
        standing = _standing(blobs, WIDTH * place, moment, month, least)
        if standing is None:
            return pure(processors, blobs, at, known=known, spread=spread)
        Py_INCREF(standing)
        PyTuple_SET_ITEM(found, place, standing)
    return found


cdef object _standing(object blobs, Py_ssize_t start, int64_t at, int32_t month, double first):
    """Conclude what the three standings from `start` on say of a candidate; None where only Python can tell."""
    cdef object wrong = None
    cdef object blob, state
    cdef double slower = 1.0
    cdef double usual = USUAL
    cdef double slow = 0.0
    cdef double total = 0.0
    cdef double variance = 0.0
    cdef double minor = 0.0
    cdef double excess = 0.0
    cdef double kappa, kappa_fast, share, passing, residual, residual_fast, keep, under, slow_spread, fast_spread
    cdef double approved_minor
    cdef double[SUMS] s
    cdef int64_t then, since
    cdef int32_t newest
    cdef Py_ssize_t depth, place, held
    cdef const char *raw
    cdef bint listed = PyList_CheckExact(blobs)
    held = PyList_GET_SIZE(blobs) if listed else PyTuple_GET_SIZE(blobs)
    for depth in range(WIDTH):
        kappa = first if depth == 0 else PRIOR[depth]
        kappa_fast = PRIOR_FAST[depth]
        place = start + depth
        if place >= held:
            variance += 1.0 / kappa
            continue
        blob = <object>(PyList_GET_ITEM(blobs, place) if listed else PyTuple_GET_ITEM(blobs, place))
        if blob is None:
            variance += 1.0 / kappa
            continue
        if not PyBytes_CheckExact(blob):
            return None
        raw = PyBytes_AS_STRING(blob)
        if PyBytes_GET_SIZE(blob) != SIZE or raw[0] != 1:
            variance += 1.0 / kappa
            continue
        memcpy(&newest, raw + 1, 4)
        memcpy(&approved_minor, raw + 5, 8)
        memcpy(&then, raw + 13, 8)
        memcpy(s, raw + 21, SUMS * 8)
        since = 0
        if at > then:
            if then < at - LONGEST:
                return None
            since = at - then
        under = s[N3] - s[N2] + STRENGTH
        if under == 0.0:
            return None
        usual = (s[F3] - s[F2] + STRENGTH * usual) / under
        if usual > MOST:
            usual = MOST
        if s[F2] >= FEWEST or wrong is not None:
            share = BASE + SLOPE * usual
            if (
                wrong is not None
                or s[F0] - share * s[N0] > SCREEN_EXCESS
                or s[F1] - share * s[N1] > SCREEN_EXCESS
                or s[F2] - share * s[N2] > SCREEN_EXCESS
            ):
                level = _Level(s[N0], s[F0], s[N1], s[F1], s[N2], s[F2], s[N3], s[F3], since / SECOND)
                wrong = _narrowed(wrong, _trouble(level, usual), level, usual)
        if depth == 0:
            slower = _slowdown(s, since / SECOND)
        elif depth == 2 and newest == month:
            minor = approved_minor
        passing = 1.0 - usual
        residual = passing * s[A3] - s[E3]
        residual_fast = passing * s[A2] - s[E2]
        slow_spread = s[V3]
        fast_spread = s[V2]
        if since > SOON:
            keep = exp2(since * FADE_SLOW)
            residual *= keep
            slow_spread *= keep
            keep = exp2(since * FADE_FAST)
            residual_fast *= keep
            fast_spread *= keep
        # What was taken back again may leave less than nothing behind.
        if slow_spread < 0.0:
            slow_spread = 0.0
        if fast_spread < 0.0:
            fast_spread = 0.0
        if slower > RESTLESS_FROM or wrong is not None:
            kappa_fast = RESTLESS
        _step(&slow, &total, residual, slow_spread, residual_fast, fast_spread, kappa, kappa_fast)
        variance += 1.0 / (slow_spread + kappa)
    if wrong is None:
        state = UP
    else:
        state = wrong.state
        excess = wrong.excess
    return _made(state, excess, slower, _bounded(total), sqrt(variance), minor)


cdef object _made(object state, double excess, double slower, double shift, double doubt, double minor):
    cdef object made = pm_blank(<PyObject *>Standing)
    cdef PyObject *standing = <PyObject *>made
    pm_put(standing, HEALTH, <PyObject *>state)
    _number(standing, EXCESS, excess)
    if slower == 1.0:
        pm_put(standing, SLOWDOWN, <PyObject *>ONE)
    else:
        pm_give(standing, SLOWDOWN, PyFloat_New(slower))
    _number(standing, SHIFT, shift)
    pm_give(standing, DOUBT, PyFloat_New(doubt))
    _number(standing, MONTH_MINOR, minor)
    return made


cdef inline int _number(PyObject *standing, Py_ssize_t place, double value) except -1:
    if value == 0.0 and not signbit(value):
        pm_put(standing, place, <PyObject *>ZERO)
    else:
        pm_give(standing, place, PyFloat_New(value))
    return 0


cdef inline void _step(
    double *slow, double *total, double residual, double spread, double residual_fast, double spread_fast,
    double kappa, double kappa_fast,
) noexcept:
    """`service.policy.adaptation.step`."""
    cdef double chance, move
    residual -= spread * slow[0]
    chance = CHANCE * spread
    if residual * residual > chance:
        move = (residual - chance / residual) / (spread + kappa)
        slow[0] += move
        total[0] += move
    residual_fast -= spread_fast * total[0]
    chance = CHANCE * spread_fast
    if residual_fast * residual_fast > chance:
        total[0] += (residual_fast - chance / residual_fast) / (spread_fast + kappa_fast)


cdef inline double _bounded(double total) noexcept:
    """`service.policy.adaptation.bounded`."""
    if -BOUND <= total <= BOUND:
        return total
    if total > BOUND:
        return BOUND
    if total < -BOUND:
        return -BOUND
    return 0.0


cdef double _slowdown(double *s, double silence) noexcept:
    """`service.policy.health.slowdown`."""
    cdef double known = s[T3] - s[T2]
    cdef double usual, recent, beyond, scale, keep, slower
    if known < TIMED:
        return 1.0
    usual = (s[L3] - s[L2]) / known
    if s[T0] >= STEADY:
        recent = s[T0]
        beyond = s[L0] - usual * s[T0]
        scale = SCALE_0
    else:
        recent = s[T1]
        beyond = s[L1] - usual * s[T1]
        scale = SCALE_1
    if beyond < SLOW * (recent + STEADY):
        return 1.0
    keep = exp2(-silence * SECOND / scale)
    slower = beyond * keep / (recent * keep + STEADY)
    if slower >= SLOW:
        return exp(10.0 if 10.0 < slower else slower)
    return 1.0
