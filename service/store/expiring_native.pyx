# cython: language_level=3, boundscheck=False, wraparound=False
"""The tables of the embedded store in C: `service.store.expiring`.

``tests/service/store/test_native.py`` holds it to the reference.
"""

from collections import deque

from cpython.dict cimport PyDict_GetItem, PyDict_SetItem, PyDict_Size
from cpython.object cimport PyObject

from service.store.base import States
from service.store.expiring import PUTS_PER_SWEEP, sweep

cdef long _PUTS = PUTS_PER_SWEEP
cdef object _new = tuple.__new__


cdef class NativeExpiring:
    """A dict whose entries have an end; see `service.store.expiring.Expiring`."""

    cdef readonly dict entries
    cdef object _clock, _most, _queue
    cdef Py_ssize_t _limit
    cdef long _puts

    def __init__(self, clock, most=None):
        self.entries = {}
        self._clock = clock
        self._most = most
        self._limit = -1 if most is None else most
        self._queue = deque()
        self._puts = 0

    def __len__(self):
        return PyDict_Size(self.entries)

    def get(self, key):
        """Return what is kept under `key` and has not ended."""
        cdef PyObject *found = PyDict_GetItem(self.entries, key)
        if found == NULL:
            return None
        cdef tuple entry = <tuple><object>found
        return entry[1] if <double>entry[0] > <double>self._clock() else None

    def put(self, key, value, double ttl):
        """Keep `value` for `ttl` seconds; now and then sweep some entries that ended."""
        cdef double now = self._clock()
        end = now + ttl
        if PyDict_GetItem(self.entries, key) == NULL:
            self._queue.append((end, key))
        PyDict_SetItem(self.entries, key, (end, value))
        self._puts += 1
        if self._puts >= _PUTS or (self._limit >= 0 and PyDict_Size(self.entries) > self._limit):
            self._puts = self._puts % _PUTS
            sweep(self.entries, self._queue, now, self._most)


cdef inline object _kept(dict table, key, double now):
    """Return what a table keeps under a key, None for none, and has not ended."""
    cdef PyObject *found
    cdef tuple entry
    if key is None:
        return None
    found = PyDict_GetItem(table, key)
    if found == NULL:
        return None
    entry = <tuple><object>found
    return entry[1] if <double>entry[0] > now else None


cdef tuple _fetched(tables, keys, double now):
    cdef Py_ssize_t place, count = min(len(tables), len(keys))
    cdef list made = [None] * count
    for place in range(count):
        made[place] = _kept(<dict>tables[place], keys[place], now)
    return tuple(made)


def fetched(tables, keys, double now):
    """Return what each table keeps under the key in the same place and has not ended by `now`; None for none."""
    return _fetched(tables, keys, now)


def states(tables, keys, double now):
    """Return what is known of a question's keys; see `service.store.expiring.states`."""
    payment, candidate, records, standings, ledgers, answers = tables
    named, candidates, record, notes, ledger, answer = keys
    cdef list each = [_fetched(candidate, one, now) for one in candidates]
    cdef list noted = [_kept(<dict>standings, note, now) for note in notes]
    return _new(
        States,
        (
            _fetched(payment, named, now),
            tuple(each),
            _kept(<dict>records, record, now),
            tuple(noted),
            _kept(<dict>ledgers, ledger, now),
            _kept(<dict>answers, answer, now),
        ),
    )
