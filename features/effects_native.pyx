# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `features.effects` does, in C: the same floats.

``tests/features/test_native.py`` holds it to the reference.
"""

from libc.math cimport exp, log

from features.effects import ABROAD, AMOUNT_BAND, PROCESSOR
from features.encoding import SEPARATOR

cdef str _SEPARATOR = SEPARATOR
cdef double _SMALLEST = 1e-6

cdef enum:
    FIELD, IS_ABROAD, BAND


cdef str _text(value):
    if value is None:
        return ""
    if type(value) is str:
        return <str>value
    return str(int(value)) if isinstance(value, bool) else str(value)


cdef class NativeEffects:
    """`features.effects.Effects` in C: the same parameters, the same answers."""

    cdef list levels           # (sorts, names, {group: {processor: offset}})

    def __init__(self, levels):
        self.levels = []
        for level in levels:
            _, *fields = level.fields
            sorts = tuple(IS_ABROAD if name == ABROAD else BAND if name == AMOUNT_BAND else FIELD for name in fields)
            table = {}
            for key, offset in level.offsets.items():
                processor, _, group = key.partition("|")
                table.setdefault(group, {})[processor] = offset
            self.levels.append((sorts, tuple(fields), table))

    def __bool__(self):
        return bool(self.levels)

    def offsets(self, payment, processors):
        """Return what is added to the log-odds of each candidate; see `features.effects.Effects.offsets`."""
        cdef int place, sort
        cdef str group, word
        cdef tuple sorts, names
        cdef list total = [0.0] * len(processors)
        for level in self.levels:
            sorts, names, table = <tuple>level
            group = ""
            for place in range(len(names)):
                sort = sorts[place]
                if sort == FIELD:
                    word = _text(getattr(payment, names[place]))
                elif sort == BAND:
                    word = str((<object>payment.amount_minor).bit_length() // 2)
                else:
                    issuer, merchant = payment.issuer_country, payment.merchant_country
                    word = "" if issuer is None or merchant is None else "1" if issuer != merchant else "0"
                group = word if place == 0 else group + _SEPARATOR + word
            found = (<dict>table).get(group)
            if found is not None:
                for place in range(len(total)):
                    total[place] = <double>total[place] + <double>(<dict>found).get(processors[place], 0.0)
        return total


cdef inline double _moved(double p, double offset) noexcept:
    if offset == 0.0:
        return p
    cdef double kept = _SMALLEST if p < _SMALLEST else p
    if kept > 1.0 - _SMALLEST:
        kept = 1.0 - _SMALLEST
    cdef double odds = log(kept / (1.0 - kept)) + offset
    return 1.0 / (1.0 + exp(-odds)) if odds >= 0.0 else 1.0 - 1.0 / (1.0 + exp(odds))


def shifted_all(list probabilities, list offsets):
    """Return probabilities moved by `offsets`, which are for one way of sending and come again for each."""
    cdef Py_ssize_t place, count = len(probabilities), width = len(offsets)
    cdef list moved = [0.0] * count
    for place in range(count):
        moved[place] = _moved(<double>probabilities[place], <double>offsets[place % width])
    return moved
