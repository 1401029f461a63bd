# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""`service.policy.grid` over C doubles: the same operations in the same order, so the same to the last bit.

More candidates than C holds, and what is no tuple or float, are left to the pure one. This module must not know what a retry is
worth; the pure one says it, and tests compare the two.
"""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_Check, PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.math cimport INFINITY, exp, isfinite
from libc.stdint cimport int64_t

from service.policy import grid
from service.policy.outlook import fades

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object sequence)
    Py_ssize_t PySequence_Fast_GET_SIZE(object sequence)

cdef enum:
    MOST_CANDIDATES = 64

cdef double IMPATIENCE = grid.IMPATIENCE
cdef int64_t FADED_SECONDS = grid._FADED_SECONDS
cdef object _Retry = grid.Retry
cdef object _pure = grid.best_of
cdef int64_t EXACT = 1 << 53


cdef struct Column:
    int64_t place
    int64_t soonest
    double gain
    double failed
    double excess
    double shift
    PyObject *away


cdef struct Found:
    bint there
    double score
    double p
    double worth
    int64_t wait
    int64_t place
    PyObject *mode


def best_of(blocks, double least):
    """Return the best retry, and the best after another wait or sent in another way; as `service.policy.grid.best_of`."""
    cdef Column[MOST_CANDIDATES] columns
    cdef Found best, second, one
    cdef double reached, settled, worth, p
    cdef object block, row, likely
    cdef int count
    cdef int64_t place
    best.there = second.there = False
    try:
        for block in blocks:
            mode, ratio, told, rows = block
            reached = ratio
            count = _read(told, columns)
            if count < 0:
                return _pure(blocks, least)
            settled = _settled(columns, count)
            for row in rows:
                wait, cost, likely = row
                one.wait = wait
                if not 0 <= one.wait < EXACT or not _fits(likely, columns, count):
                    return _pure(blocks, least)
                if <double>one.wait >= settled:
                    place = _far(cost, likely, columns, count, least, &worth, &p)
                else:
                    place = _near(one.wait, cost, likely, columns, count, least, &worth, &p)
                if place < 0:
                    continue
                worth *= reached
                one.there, one.place, one.p, one.worth, one.mode = True, place, p, worth, <PyObject *>mode
                one.score = worth * (1.0 - one.wait * IMPATIENCE) if worth > 0.0 else worth
                if not best.there or one.score > best.score or (one.score == best.score and p > best.p):
                    second = best
                    best = one
                elif not second.there or one.score > second.score:
                    second = one
    except (OverflowError, TypeError):
        return _pure(blocks, least)
    return _retry(&best), _retry(&second)


cdef object _retry(Found *found):
    if not found.there:
        return None
    return _Retry(found.score, found.p, found.worth, found.wait, found.place, <object>found.mode)


cdef double _number(PyObject *value) except? -1.0:
    if PyFloat_CheckExact(<object>value):
        return PyFloat_AS_DOUBLE(<object>value)
    if PyLong_CheckExact(<object>value):
        return <double><object>value
    raise TypeError("expected a number")


cdef int _read(object told, Column *columns) except -2:
    """Read candidates; -1 for more than C holds."""
    cdef int place = 0
    for cells in told:
        if not PyTuple_Check(cells) or PyTuple_GET_SIZE(cells) != 7 or place >= MOST_CANDIDATES:
            return -1
        columns[place].place = <object>PyTuple_GET_ITEM(cells, 0)
        columns[place].soonest = <object>PyTuple_GET_ITEM(cells, 1)
        columns[place].gain = _number(PyTuple_GET_ITEM(cells, 2))
        columns[place].failed = _number(PyTuple_GET_ITEM(cells, 3))
        columns[place].excess = _number(PyTuple_GET_ITEM(cells, 4))
        columns[place].shift = _number(PyTuple_GET_ITEM(cells, 5))
        columns[place].away = PyTuple_GET_ITEM(cells, 6)
        if not -EXACT < columns[place].soonest < EXACT or not PyTuple_CheckExact(<object>columns[place].away):
            return -1
        place += 1
    return place


cdef bint _fits(object likely, Column *columns, int count) except -1:
    """Say whether a row has a float for each candidate."""
    cdef Py_ssize_t size
    cdef PyObject **cells
    cdef int place
    if not PyTuple_CheckExact(likely) and not PyList_CheckExact(likely):
        return False
    size = PySequence_Fast_GET_SIZE(likely)
    cells = PySequence_Fast_ITEMS(likely)
    for place in range(count):
        if not 0 <= columns[place].place < size or not PyFloat_CheckExact(<object>cells[columns[place].place]):
            return False
    return True


cdef double _settled(Column *columns, int count) except? -1.0:
    """Return the wait from which on every candidate is there, and no standing matters any more."""
    cdef double settled = 0.0
    cdef int place
    for place in range(count):
        if PyTuple_GET_SIZE(<object>columns[place].away):
            return INFINITY
        if columns[place].excess != 0.0 or columns[place].shift != 0.0:
            settled = FADED_SECONDS if FADED_SECONDS > settled else settled
        if columns[place].soonest > settled:
            settled = columns[place].soonest
    return settled


cdef int64_t _far(
    object cost, object likely, Column *columns, int count, double least, double *worth, double *most
) except? -1:
    """Find the best candidate of a row that is likely enough, where no standing matters; -1 where there is none."""
    cdef PyObject **cells = PySequence_Fast_ITEMS(likely)
    cdef double burnt = _number(<PyObject *>cost)
    cdef double found = -INFINITY
    cdef double p, value
    cdef int64_t best = -1
    cdef int place
    most[0] = -1.0
    for place in range(count):
        p = PyFloat_AS_DOUBLE(<object>cells[columns[place].place])
        if least <= p <= 1.0:
            value = p * (columns[place].gain + burnt) - columns[place].failed
            if value > found or (value == found and p > most[0]):
                found, most[0], best = value, p, columns[place].place
    worth[0] = found - burnt
    return best


cdef int64_t _near(
    int64_t wait, object cost, object likely, Column *columns, int count, double least, double *worth, double *most
) except? -1:
    """The same with standings as far as they have not faded."""
    cdef PyObject **cells = PySequence_Fast_ITEMS(likely)
    cdef double burnt = _number(<PyObject *>cost)
    cdef double found = -INFINITY
    cdef double faults = 0.0
    cdef double shifts = 0.0
    cdef double p, value, odds
    cdef int64_t best = -1
    cdef int place
    cdef bint out
    most[0] = -1.0
    if wait < FADED_SECONDS:
        left, other = fades(wait)
        faults, shifts = left, other
    for place in range(count):
        p = PyFloat_AS_DOUBLE(<object>cells[columns[place].place])
        if wait < columns[place].soonest or not 0.0 <= p <= 1.0:
            continue
        out = False
        for span in <tuple>columns[place].away:
            begins, ends = span
            if begins <= wait < ends:
                out = True
                break
        if out:
            continue
        if columns[place].shift != 0.0:
            odds = exp(columns[place].shift * shifts) * p
            value = odds + (1.0 - p)
            if value == 0.0 or not isfinite(odds):
                raise OverflowError("odds that C does not hold")
            p = odds / value
        if columns[place].excess != 0.0:
            p *= 1.0 - columns[place].excess * faults
        if p >= least:
            value = p * (columns[place].gain + burnt) - columns[place].failed
            if value > found or (value == found and p > most[0]):
                found, most[0], best = value, p, columns[place].place
    worth[0] = found - burnt
    return best
