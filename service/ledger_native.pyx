# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Attempts reserved in C: `service.ledger.reserve`, for a ledger as it is nearly always.

``tests/service/test_ledger.py`` holds it to the reference, which does what is not plain.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from features.packed cimport _i64, _u64

from service.ledger import APPROVED, ENTRY, HEAD, KEPT_US, MOST, RESERVED, VERSION

cdef int64_t _KEPT = KEPT_US
cdef int _MOST = MOST
cdef int _RESERVED = RESERVED
cdef int _APPROVED = APPROVED
cdef int _VERSION = VERSION
cdef int _HEAD = HEAD.size
cdef int _SIZE = ENTRY.size


cdef inline int _order(const uint8_t *one, int64_t at, uint64_t attempt) noexcept:
    """Return -1, 0 or 1: whether an entry comes before another one's time and attempt, is of the same, or comes after."""
    cdef int64_t its = _i64(one)
    cdef uint64_t own
    if its != at:
        return -1 if its < at else 1
    own = _u64(one + 8)
    return -1 if own < attempt else (1 if own > attempt else 0)


cdef int _used(const uint8_t *entries, int count, tuple limit, int64_t at, uint64_t own) except -1:
    """Return how much of a limit is used; see `service.ledger.used`."""
    cdef int64_t oldest = at - <int64_t>limit[0], start = oldest, its
    cdef const uint8_t *entry
    cdef int place, used = 0
    cdef uint8_t status
    cdef bint any_amount = limit[2] is None
    cdef uint64_t amount = 0 if any_amount else limit[2]
    if limit[3]:
        for place in range(count):
            entry = entries + place * _SIZE
            its = _i64(entry)
            if entry[24] == _APPROVED and start < its <= at and _u64(entry + 8) != own:
                start = its
    for place in range(count):
        entry = entries + place * _SIZE
        status = entry[24]
        if (
            status != _APPROVED
            and _i64(entry) > (oldest if status == _RESERVED else start)
            and _u64(entry + 8) != own
            and (any_amount or _u64(entry + 16) == amount)
        ):
            used += 1
    return used


def reserve(blob, given, limits):
    """Return the ledger with one more reservation, None when a limit is used up; ``NotImplemented`` for what is not plain."""
    cdef tuple entry = <tuple>given
    cdef int64_t at = entry[0], oldest
    cdef uint64_t attempt = entry[1], amount = entry[2]
    cdef uint8_t status = entry[3]
    cdef const uint8_t *old = NULL
    cdef int count = 0, place, first, size
    if blob is not None:
        if type(blob) is not bytes or PyBytes_GET_SIZE(blob) < _HEAD:
            return NotImplemented
        old = <const uint8_t *>PyBytes_AS_STRING(blob)
        count = old[1] | (old[2] << 8)
        if old[0] != _VERSION or count > _MOST or PyBytes_GET_SIZE(blob) != _HEAD + count * _SIZE:
            return NotImplemented
        old += _HEAD
    if count >= _MOST:
        return NotImplemented
    cdef int insert = count
    for place in range(count):
        if _u64(old + place * _SIZE + 8) == attempt:
            return NotImplemented
        if place and _order(old + (place - 1) * _SIZE, _i64(old + place * _SIZE), _u64(old + place * _SIZE + 8)) >= 0:
            return NotImplemented
        if insert == count and _order(old + place * _SIZE, at, attempt) > 0:
            insert = place
    for limit in limits:
        if _used(old, count, <tuple>limit, at, attempt) >= <int>limit[1]:
            return None
    oldest = (at if insert == count else _i64(old + (count - 1) * _SIZE)) - _KEPT
    first = 0
    while first < count and _i64(old + first * _SIZE) <= oldest:
        first += 1
    if at <= oldest:
        return NotImplemented
    size = count + 1 - first
    made = PyBytes_FromStringAndSize(NULL, _HEAD + size * _SIZE)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    out[0], out[1], out[2] = _VERSION, size & 0xFF, size >> 8
    out += _HEAD
    if insert > first:
        memcpy(out, old + first * _SIZE, (insert - first) * _SIZE)
    out += (insert - first) * _SIZE
    memcpy(out, &at, 8)
    memcpy(out + 8, &attempt, 8)
    memcpy(out + 16, &amount, 8)
    out[24] = status
    if insert < count:
        memcpy(out + _SIZE, old + insert * _SIZE, (count - insert) * _SIZE)
    return made
