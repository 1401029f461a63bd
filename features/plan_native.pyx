# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The plan of `features.assemble` in C: the same catalog, the same rows, to the last bit.

`features.source` writes Python out of a catalog; here the same specs become arrays of small structs that one loop walks
through. A blob is read where it lies: nothing is unpacked into objects. ``tests/features/test_native.py`` holds it to the
reference, and the parity tests hold both to the offline plan.

This module must not know where the state comes from.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.math cimport fmod
from libc.string cimport memcmp, memcpy
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cimport numpy as cnp

from features.packed cimport _f64, _i32, _i64, _u32, _u64

from datetime import date

from features.catalog import BY_SCOPE, CANDIDATE, PAYMENT, RETRY
from features.clock import DAY, EPOCH, HOUR, SECOND
from features.encoding import SEPARATOR
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.fields import OTHER_UNIT, UNITS
from features.increment import CODES
from features.layout import AMOUNT, DECAYED, INDEX, LAYOUTS, MOST_ROWS
from features.state import trouble

cnp.import_array()

cdef int64_t _DAY = DAY
cdef int64_t _SECOND = SECOND
cdef double _HOUR_F = HOUR
cdef int64_t _HOUR = HOUR
cdef double _SECOND_F = SECOND
cdef int _MOST = MOST_ROWS
cdef double _OTHER_UNIT = OTHER_UNIT
cdef dict _UNITS = dict(UNITS)
cdef int64_t _FIRST_DAY = EPOCH.toordinal()
cdef int64_t _EXACT = 1 << 53
cdef object _from_ordinal = date.fromordinal
cdef str _SEPARATOR = SEPARATOR

cdef enum:
    COUNT, RATE, MEAN, RELATIVE, DISTINCT, SINCE, LAST_AMOUNT, LAST_CODE, DECAY, STREAK

cdef enum:
    NUMBER, FLAG, PRESENT, EQUALS, DIFFERS, MAJOR, WHOLE, HOUR_OF, WEEKDAY, MONTHDAY, WEEKEND, NIGHT, PRIOR

_STATE = {"count": COUNT, "rate": RATE, "mean": MEAN, "relative": RELATIVE, "distinct": DISTINCT, "since": SINCE,
          "decayed": DECAY, "streak": STREAK}
_STATIC = {"number": NUMBER, "flag": FLAG, "present": PRESENT, "equals": EQUALS, "differs": DIFFERS, "major": MAJOR,
           "whole": WHOLE, "hour": HOUR_OF, "weekday": WEEKDAY, "monthday": MONTHDAY, "weekend": WEEKEND, "night": NIGHT,
           "prior": PRIOR}

cdef struct Window:
    int64_t width
    int64_t hop
    int64_t times          # the layout's finest hops in one hop of the ring
    int64_t start          # first tile, set for each moment
    int row                # the row that holds the sums before the window; n for none

cdef struct StateOp:
    int op
    int position
    int window
    int first              # offset in bytes of the first measure in a row; or of a field of the head
    int second
    bint first_wide        # an amount: two words
    int code
    double absent


cdef inline int64_t _floor(int64_t value, int64_t by) noexcept nogil:
    cdef int64_t whole = value / by
    if value % by < 0:
        whole -= 1
    return whole


cdef inline int64_t _mod(int64_t value, int64_t by) noexcept nogil:
    cdef int64_t left = value % by
    return left + by if left < 0 else left


cdef class Reader:
    """Reads the features of one kind of entity out of a packed state."""

    cdef StateOp *ops
    cdef Window *windows
    cdef int op_count, window_count, head_size, size, members, streak
    cdef int64_t hop, horizon, horizon_hop, horizon_times
    cdef int64_t first_tile, first_moment
    cdef bytes mark
    cdef str kind
    cdef object bad
    cdef int last_attempt, last_amount, last_result, last_approved, last_code, decayed

    def __cinit__(self):
        self.ops = NULL
        self.windows = NULL

    def __init__(self, kind, entries, bad):
        layout = LAYOUTS[kind]
        self.kind, self.bad, self.mark = kind, bad, layout.mark
        self.head_size, self.size = layout.head_size, 4 * layout.words
        self.members, self.streak = layout.members, layout.streak
        self.hop, self.horizon = layout.hop, layout.horizon
        self.horizon_hop = list(layout.rings).pop().hop
        reach = next(ring.hop for ring in layout.rings if ring.reach >= layout.horizon)
        self.horizon_times = reach // layout.hop
        after = 10 + self.size
        self.last_attempt, self.last_amount, self.last_result = after, after + 8, after + 16
        self.last_approved, self.last_code, self.decayed = after + 24, after + 32, after + 33
        widths = sorted({spec.width for _, spec in entries})
        self.window_count, self.op_count = len(widths), len(entries)
        self.windows = <Window *>PyMem_Malloc(max(1, self.window_count) * sizeof(Window))
        self.ops = <StateOp *>PyMem_Malloc(max(1, self.op_count) * sizeof(StateOp))
        if self.windows == NULL or self.ops == NULL:
            raise MemoryError
        for place, width in enumerate(widths):
            hop = next(ring.hop for ring in layout.rings if ring.reach >= width)
            self.windows[place] = Window(width, hop, hop // layout.hop, 0, 0)
        for place, (position, spec) in enumerate(entries):
            self.ops[place] = self._op(layout, position, spec, widths.index(spec.width))

    cdef StateOp _op(self, layout, int position, spec, int window) except *:
        cdef StateOp op
        op.position, op.window, op.absent = position, window, spec.default
        op.first = op.second = op.code = 0
        op.first_wide = False
        if spec.operation == "last":
            what = spec.inputs[0]
            op.op = LAST_AMOUNT if what == "amount_minor" else LAST_CODE
            op.code = 0 if what == "amount_minor" else CODES[what]
        elif spec.operation == "since":
            op.op = SINCE
            op.first = {"attempt": self.last_attempt, "result": self.last_result, "approved": self.last_approved}[spec.inputs[0]]
        elif spec.operation == "decayed":
            op.op = DECAY
            op.first, op.second = (self.decayed + 8 * DECAYED.index(name) for name in spec.inputs)
        else:
            op.op = _STATE[spec.operation]
            if spec.operation in ("count", "rate", "mean", "relative"):
                op.first = 4 * layout.place[spec.inputs[0]]
                op.second = 4 * layout.place[list(spec.inputs).pop()]
                op.first_wide = INDEX[spec.inputs[0]] == AMOUNT
        return op

    def __dealloc__(self):
        PyMem_Free(self.ops)
        PyMem_Free(self.windows)

    cdef void at_moment(self, int64_t at) noexcept:
        """Work out where every window begins."""
        cdef int place
        cdef Window *window
        for place in range(self.window_count):
            window = &self.windows[place]
            window.start = _floor(at - window.width, window.hop) * window.times
        self.first_tile = _floor(at - self.horizon, self.horizon_times * self.hop) * self.horizon_times
        self.first_moment = _floor(at - self.horizon, self.horizon_hop) * self.horizon_hop
        # Never below 1: a time of 0 stands for never.
        if self.first_moment < 1:
            self.first_moment = 1

    cdef int fill(self, object blob, int64_t at, object amount, float *out) except -1:
        """Write the entity's features; those of one never seen are their defaults."""
        cdef int place, low, high, middle
        cdef Window *window
        cdef StateOp *op
        for place in range(self.op_count):
            op = &self.ops[place]
            out[op.position] = <float>op.absent
        if blob is None:
            return 0
        if type(blob) is not bytes:
            blob = bytes(blob)
        cdef const uint8_t *b = <const uint8_t *>PyBytes_AS_STRING(blob)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(blob)
        cdef int n = 0, m = 0, k = 0
        cdef bint whole = length >= self.head_size and memcmp(b, PyBytes_AS_STRING(self.mark), 6) == 0
        if whole:
            n = b[6] | (b[7] << 8)
            m = b[8] if self.members else 0
            k = b[9] if self.streak else 0
            whole = (
                length == self.head_size + <Py_ssize_t>(4 + self.size) * n + 8 * (m + k)
                and n <= _MOST and m <= self.members and k <= self.streak
            )
        if not whole:
            self.bad(self.kind, blob)
            return 0
        cdef const uint8_t *tiles = b + self.head_size
        if n == 0 or _i32(tiles + 4 * (n - 1)) < self.first_tile:
            return 0
        cdef const uint8_t *rows = tiles + 4 * n
        cdef const uint8_t *seen = rows + self.size * n
        for place in range(self.window_count):
            window = &self.windows[place]
            low, high = 0, n
            while low < high:
                middle = (low + high) >> 1
                if _i32(tiles + 4 * middle) < window.start:
                    low = middle + 1
                else:
                    high = middle
            window.row = low
        for place in range(self.op_count):
            op = &self.ops[place]
            out[op.position] = <float>self._value(op, b, rows, seen, n, m, k, at, amount)
        return 0

    cdef inline uint32_t _narrow(self, const uint8_t *b, const uint8_t *rows, int n, int row, int offset) noexcept:
        if row >= n:
            return 0
        return _u32(b + 10 + offset) - _u32(rows + <Py_ssize_t>self.size * row + offset)

    cdef inline uint64_t _wide(self, const uint8_t *b, const uint8_t *rows, int n, int row, int offset) noexcept:
        if row >= n:
            return 0
        return _u64(b + 10 + offset) - _u64(rows + <Py_ssize_t>self.size * row + offset)

    cdef double _value(
        self, StateOp *op, const uint8_t *b, const uint8_t *rows, const uint8_t *seen, int n, int m, int k, int64_t at,
        object amount,
    ) except? -1.5:
        cdef Window *window = &self.windows[op.window]
        cdef uint64_t first
        cdef uint32_t second
        cdef int64_t last
        cdef double part, all_
        cdef int place, counted
        if op.op == COUNT:
            if op.first_wide:
                return <double>self._wide(b, rows, n, window.row, op.first)
            return <double>self._narrow(b, rows, n, window.row, op.first)
        if op.op == RATE:
            second = self._narrow(b, rows, n, window.row, op.second)
            if second == 0:
                return op.absent
            if op.first_wide:
                return <object>self._wide(b, rows, n, window.row, op.first) / <object>second
            return <double>self._narrow(b, rows, n, window.row, op.first) / <double>second
        if op.op == MEAN:
            second = self._narrow(b, rows, n, window.row, op.second)
            if second == 0:
                return op.absent
            first = self._wide(b, rows, n, window.row, op.first)
            if first < <uint64_t>_EXACT:
                return <double>first / <double>second
            # Python divides whole numbers of any size exactly.
            return <object>first / <object>second
        if op.op == RELATIVE:
            first = self._wide(b, rows, n, window.row, op.first)
            if first == 0:
                return op.absent
            return <double>amount * <double>self._narrow(b, rows, n, window.row, op.second) / <double>first
        if op.op == DISTINCT:
            counted = 0
            for place in range(m):
                if _i32(seen + 8 * place + 4) < window.start:
                    break
                counted += 1
            return counted
        if op.op == SINCE:
            last = _i64(b + op.first)
            if last < self.first_moment:
                return op.absent
            return <double>(at - last if at > last else 0) / _SECOND_F
        if op.op == LAST_AMOUNT:
            if _i64(b + self.last_attempt) < self.first_moment:
                return op.absent
            return <double>_i64(b + self.last_amount)
        if op.op == LAST_CODE:
            if _i64(b + self.last_result) < self.first_moment:
                return op.absent
            return 1.0 if b[self.last_code] == op.code else 0.0
        if op.op == DECAY:
            part, all_ = _f64(b + op.first), _f64(b + op.second)
            if _i64(b + self.last_result) >= self.first_moment and 0.0 <= part <= all_ < 1e300 and all_ != 0.0:
                return part / all_
            return op.absent
        counted = 0
        for place in range(k):
            if _i64(seen + 8 * m + 8 * place) < self.first_moment:
                break
            counted += 1
        return counted


cdef struct StaticOp:
    int op
    int position
    int first
    int second
    double absent


cdef enum:
    _AT = -1
    _RETRY_AT = -2
    _WAIT = -3
    _PROCESSOR = -4
    _SAME = -5

_SPECIAL = {"at": _AT, "retry_at": _RETRY_AT, "wait_seconds": _WAIT, "processor": _PROCESSOR, "same_processor": _SAME}
_OF_DECLINE = ("response_code", "advice_code")


cdef class Scope:
    """The features of one scope, for one row at a time."""

    cdef StaticOp *ops
    cdef int op_count, width
    cdef list fields            # (name, whether the decline has it), each read once for a payment
    cdef list values            # of those, for the payment under way
    cdef list constants         # by op: what `equals` compares with
    cdef list tables            # by op: of a prior, category to rate; or None
    cdef list whole             # by op: the parts of a category that a payment has, as places of fields
    cdef list nested            # by op: of a candidate's prior, the payment's part to {processor: rate}
    cdef list found             # by op: the table of {processor: rate} for the payment under way
    cdef list readers           # in the order of the scope's kinds; None for a kind without features
    cdef int64_t day
    cdef double monthday

    def __cinit__(self):
        self.ops = NULL

    def __init__(self, specs, kinds, encodings, bad):
        self.width = len(specs)
        static = [(position, spec) for position, spec in enumerate(specs) if spec.entity is None]
        self.op_count = len(static)
        self.ops = <StaticOp *>PyMem_Malloc(max(1, self.op_count) * sizeof(StaticOp))
        if self.ops == NULL:
            raise MemoryError
        self.fields, self.constants, self.tables, self.whole, self.nested = [], [], [], [], []
        for place, (position, spec) in enumerate(static):
            self.ops[place] = self._op(position, spec)
            self.constants.append(spec.constant)
            table, whole, nested = None, None, None
            if spec.target is not None:
                encoding = encodings[spec.name]
                self.ops[place].absent = encoding.default
                whole = tuple(self._field(name) for name in spec.inputs)
                table = dict(encoding.values)
                if whole[0] == _PROCESSOR and len(whole) > 1:
                    nested = {}
                    for key, rate in table.items():
                        parts = key.split(_SEPARATOR)
                        for cut in range(1, len(parts)):
                            rest = _SEPARATOR.join(parts[cut:])
                            nested.setdefault(rest, {})[_SEPARATOR.join(parts[:cut])] = rate
            self.tables.append(table)
            self.whole.append(whole)
            self.nested.append(nested)
        self.found = [None] * self.op_count
        self.values = [None] * len(self.fields)
        self.readers = []
        for kind in kinds:
            entries = [(position, spec) for position, spec in enumerate(specs) if spec.entity == kind]
            self.readers.append(Reader(kind, entries, bad) if entries else None)
        self.day = -(1 << 62)

    def __dealloc__(self):
        PyMem_Free(self.ops)

    cdef int _field(self, name) except? -99:
        if name in _SPECIAL:
            return _SPECIAL[name]
        entry = (name, name in _OF_DECLINE)
        if entry not in self.fields:
            self.fields.append(entry)
        return self.fields.index(entry)

    cdef StaticOp _op(self, int position, spec) except *:
        cdef StaticOp op
        op.op, op.position, op.absent = _STATIC[spec.operation], position, spec.default
        op.first, op.second = self._field(spec.inputs[0]), self._field(list(spec.inputs).pop())
        return op

    cdef int begin(self, object payment, int64_t at) except -1:
        """Read the payment's fields and work out where windows begin: once for all rows."""
        cdef int place
        cdef Reader reader
        cdef StaticOp *op
        cdef object decline = None
        for place, (name, of_decline) in enumerate(self.fields):
            if of_decline:
                if decline is None:
                    decline = payment.decline
                self.values[place] = getattr(decline, name)
            else:
                self.values[place] = getattr(payment, name)
        for each in self.readers:
            if each is not None:
                reader = <Reader>each
                reader.at_moment(at)
        for place in range(self.op_count):
            op = &self.ops[place]
            if op.op == PRIOR and op.first == _PROCESSOR and op.second != _PROCESSOR:
                self.found[place] = (<dict>self.nested[place]).get(self._category(place, 1))
        return 0

    cdef str _category(self, int place, int start):
        """Return the part of a category that the payment has."""
        cdef tuple parts = <tuple>self.whole[place]
        cdef object value = self.values[<int>parts[start]]
        cdef str text = value or ""
        cdef int at
        for at in range(start + 1, len(parts)):
            text = text + _SEPARATOR + (self.values[<int>parts[at]] or "")
        return text

    cdef inline double _rate(self, int place, object table, object category, double absent) except? -1.5:
        cdef PyObject *rate
        if table is None:
            return absent
        rate = PyDict_GetItem(<dict>table, category)
        return absent if rate == NULL else <double>(<object>rate)

    cdef int fill_static(self, int64_t at, object processor, int64_t wait, float *out, object same) except -1:
        """Write the features of the payment's own fields."""
        cdef int place
        cdef StaticOp *op
        cdef object first, second
        cdef int64_t us
        cdef double value, unit
        for place in range(self.op_count):
            op = &self.ops[place]
            if op.op == PRIOR:
                if op.first != _PROCESSOR:
                    value = self._rate(place, self.tables[place], self._category(place, 0), op.absent)
                elif op.second == _PROCESSOR:
                    value = self._rate(place, self.tables[place], processor or "", op.absent)
                else:
                    value = self._rate(place, self.found[place], processor or "", op.absent)
                out[op.position] = <float>value
                continue
            if op.op >= HOUR_OF:
                us = at if op.first == _AT else at + wait * _SECOND
                if op.op == HOUR_OF:
                    value = <double>_mod(us, _DAY) / _HOUR_F
                elif op.op == WEEKDAY:
                    value = <double>_mod(_floor(us, _DAY) + 3, 7)
                elif op.op == MONTHDAY:
                    value = self._monthday(_floor(us, _DAY))
                elif op.op == WEEKEND:
                    value = 1.0 if _mod(_floor(us, _DAY) + 3, 7) >= 5 else 0.0
                else:
                    value = 1.0 if _mod(us, _DAY) < 6 * _HOUR else 0.0
                out[op.position] = <float>value
                continue
            if op.first == _WAIT:
                out[op.position] = <float>wait
                continue
            if op.first == _SAME:
                out[op.position] = 1.0 if processor == same else 0.0
                continue
            first = self.values[op.first]
            if op.op == PRESENT:
                value = 0.0 if first is None else 1.0
            elif op.op == MAJOR or op.op == WHOLE:
                second = _UNITS.get(self.values[op.second])
                unit = _OTHER_UNIT if second is None else <double>second
                value = <double>first / unit if op.op == MAJOR else (1.0 if fmod(<double>first, unit) == 0 else 0.0)
            elif first is None:
                value = op.absent
            elif op.op == NUMBER:
                value = <double>first
            elif op.op == FLAG:
                value = 1.0 if first else 0.0
            elif op.op == EQUALS:
                value = 1.0 if first == self.constants[place] else 0.0
            else:
                second = self.values[op.second]
                value = op.absent if second is None else (1.0 if first != second else 0.0)
            out[op.position] = <float>value
        return 0

    cdef double _monthday(self, int64_t day) except? -1.5:
        if day != self.day:
            self.monthday = _from_ordinal(day + _FIRST_DAY).day
            self.day = day
        return self.monthday

    cdef int fill_states(self, object states, int64_t at, object amount, float *out) except -1:
        """Write the features of what is remembered of the row's entities."""
        cdef int place
        for place in range(len(self.readers)):
            each = self.readers[place]
            if each is not None:
                (<Reader>each).fill(states[place], at, amount, out)
        return 0


class _Nobody:
    """States of nobody: whatever place is asked for, nothing is known."""

    def __getitem__(self, place):
        return None


cdef object _NOBODY = _Nobody()


cdef class NativePlan:
    """`features.assemble.Plan` in C: the same parameters, the same answers."""

    cdef Scope payment, candidate, retry
    cdef readonly int width, retry_width

    def __init__(self, encodings, unreadable=None):
        missing = [
            spec.name for specs in BY_SCOPE.values() for spec in specs if spec.target and spec.name not in encodings
        ]
        if missing:
            raise ValueError(f"expected an encoding for every prior feature, {', '.join(missing)} missing")

        def bad(kind, blob):
            if unreadable is not None:
                unreadable(kind, trouble(LAYOUTS[kind], blob) or "corrupt")

        self.payment = Scope(PAYMENT, PAYMENT_KINDS, encodings, bad)
        self.candidate = Scope(CANDIDATE, CANDIDATE_KINDS, encodings, bad)
        self.retry = Scope(RETRY, (), encodings, bad)
        self.width = len(PAYMENT) + len(CANDIDATE)
        self.retry_width = self.width + len(RETRY)

    def rows(self, payment, int64_t at, states, processors, candidates):
        """Return one row per candidate processor; see `features.assemble.Plan.rows`."""
        cdef Py_ssize_t count = len(processors) or 1
        cdef int head = self.payment.width, place
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = count, self.width
        matrix = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT32)
        cdef float *out = <float *>cnp.PyArray_DATA(matrix)
        cdef object amount = payment.amount_minor
        self.payment.begin(payment, at)
        self.candidate.begin(payment, at)
        self.payment.fill_static(at, None, 0, out, None)
        self.payment.fill_states(states or _NOBODY, at, amount, out)
        for place in range(count):
            if place:
                memcpy(out + <Py_ssize_t>place * self.width, out, head * sizeof(float))
            name = processors[place] if processors else ""
            self.candidate.fill_static(at, name, 0, out + <Py_ssize_t>place * self.width + head, None)
            self.candidate.fill_states(
                candidates[place] if candidates else _NOBODY, at, amount, out + <Py_ssize_t>place * self.width + head
            )
        return matrix

    def retry_rows(self, base, payment, int64_t at, processors, waits):
        """Return one row per wait and candidate; see `features.assemble.Plan.retry_rows`."""
        cdef Py_ssize_t count = len(base), waited = len(waits), place, turn
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = count * waited, self.retry_width
        matrix = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_FLOAT32)
        cdef float *out = <float *>cnp.PyArray_DATA(matrix)
        cdef const float[:, ::1] given = base
        cdef object same = payment.decline.processor
        cdef int64_t wait
        self.retry.begin(payment, at)
        for turn in range(waited):
            wait = waits[turn]
            for place in range(count):
                memcpy(out, &given[place, 0], self.width * sizeof(float))
                name = processors[place] if processors else ""
                self.retry.fill_static(at, name, wait, out + self.width, same)
                out += self.retry_width
        return matrix
