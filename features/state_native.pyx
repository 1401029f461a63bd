# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `features.newest` and `features.undo.last_seen` do, in C: the same bytes and the same answers.

``tests/features/test_native.py`` holds them to the reference.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport pow as power
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from features.packed cimport _f64, _i32, _i64, _u32

from features.increment import CODES
from features.layout import AMOUNT, ATTEMPTS, INDEX, LAYOUTS, MOST_ROWS
from features.seen import LastSeen

cdef int _MOST = MOST_ROWS
cdef int _APPROVED = CODES["approved"]
cdef int _TECHNICAL = CODES["technical"]
cdef int _DECLINED = INDEX["declined"]
cdef int _AMOUNT = AMOUNT
cdef int _ATTEMPTS = ATTEMPTS


cdef class Form:
    """What C must know of a layout."""

    cdef bytes mark
    cdef int head_size, words, members, streak, count
    cdef int64_t hop
    cdef double half_life
    cdef int[16] measure       # place in `MEASURES`
    cdef int[16] place         # first word in a row

    def __init__(self, layout):
        cdef int at
        self.mark, self.head_size, self.words = layout.mark, layout.head_size, layout.words
        self.members, self.streak, self.hop, self.half_life = layout.members, layout.streak, layout.hop, layout.half_life
        self.count = len(layout.place)
        for at, (name, place) in enumerate(layout.place.items()):
            self.measure[at], self.place[at] = INDEX[name], place


cdef dict _FORMS = {layout: Form(layout) for layout in LAYOUTS.values()}


cdef inline Form _form(layout):
    form = _FORMS.get(layout)
    if form is None:
        form = _FORMS[layout] = Form(layout)
    return <Form>form


cdef inline bint _whole(Form form, const uint8_t *b, Py_ssize_t length) noexcept:
    """Tell whether a blob is a whole state: `features.state.trouble` is None."""
    cdef int n, m, k
    if length < form.head_size or memcmp(b, PyBytes_AS_STRING(form.mark), 6) != 0:
        return False
    n, m, k = b[6] | (b[7] << 8), b[8], b[9]
    return (
        length == form.head_size + <Py_ssize_t>n * (4 + 4 * form.words) + 8 * (m + k)
        and n <= _MOST and m <= form.members and k <= form.streak
    )


def last_seen(layout, blob, member):
    """Return what a state says before an attempt; see `features.undo.last_seen`."""
    cdef Form form = _form(layout)
    if blob is None or type(blob) is not bytes:
        return LastSeen()
    cdef const uint8_t *b = <const uint8_t *>PyBytes_AS_STRING(blob)
    if not _whole(form, b, PyBytes_GET_SIZE(blob)):
        return LastSeen()
    cdef const uint8_t *times = b + 10 + 4 * form.words
    cdef int64_t attempt = _i64(times), amount = _i64(times + 8)
    if member is None:
        return LastSeen(attempt, amount, None, None)
    cdef int n = b[6] | (b[7] << 8), m = b[8], at
    cdef const uint8_t *entries = b + form.head_size + <Py_ssize_t>n * (4 + 4 * form.words)
    cdef uint32_t mine = member
    for at in range(m):
        if _u32(entries + 8 * at) == mine:
            return LastSeen(attempt, amount, _i32(entries + 8 * at + 4), None)
    if m == form.members and m > 0:
        entries += 8 * (m - 1)
        return LastSeen(attempt, amount, None, (_u32(entries), _i32(entries + 4)))
    return LastSeen(attempt, amount, None, None)


def add_to_newest(layout, blob, increment, member):
    """Return the state after an event in its newest tile; None for any other; see `features.newest.add_to_newest`."""
    cdef Form form = _form(layout)
    if type(blob) is not bytes:
        return None
    cdef const uint8_t *b = <const uint8_t *>PyBytes_AS_STRING(blob)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(blob), end
    if not _whole(form, b, length):
        return None
    cdef int n = b[6] | (b[7] << 8), m = b[8], k = b[9], place
    if n == 0:
        return None
    cdef tuple deltas = <tuple>increment[1]
    cdef int64_t at = increment[0], tile
    cdef int code = increment[2]
    if at < 0:
        return None
    tile = at // form.hop
    end = form.head_size + <Py_ssize_t>n * (4 + 4 * form.words)
    if _i32(b + form.head_size + 4 * (n - 1)) != tile:
        return None
    cdef bint is_attempt = <int64_t>deltas[_ATTEMPTS] != 0
    cdef uint32_t mine
    cdef bint found = False
    if member is not None and form.members and is_attempt:
        mine = member
        for place in range(m):
            if _u32(b + end + 8 * place) == mine and _i32(b + end + 8 * place + 4) == tile:
                found = True
                break
        if not found:
            return None
    if code and form.streak and (k or <int64_t>deltas[_DECLINED]):
        return None
    made = PyBytes_FromStringAndSize(<const char *>b, length)
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    cdef int64_t delta, total
    cdef uint32_t word
    cdef bint counted = False
    for place in range(form.count):
        delta = deltas[form.measure[place]]
        if delta:
            total = <int64_t>_u32(out + 10 + 4 * form.place[place]) + delta
            if delta < 0 or delta > 0xFFFFFFFF or total > 0xFFFFFFFF:
                return None
            word = <uint32_t>total
            memcpy(out + 10 + 4 * form.place[place], &word, 4)
            counted = True
    if not counted:
        return None
    cdef uint8_t *times = out + 10 + 4 * form.words
    cdef int64_t last, amount
    if is_attempt and at >= _i64(times):
        last, amount = _i64(times), deltas[_AMOUNT]
        if at == last and _i64(times + 8) > amount:
            amount = _i64(times + 8)
        memcpy(times, &at, 8)
        memcpy(times + 8, &amount, 8)
    cdef double weight, value
    if code:
        last = _i64(times + 16)
        if at < last:
            return None
        weight = power(2.0, -(<double>(at - last)) / form.half_life)
        value = _f64(times + 33) * weight + 1.0
        memcpy(times + 33, &value, 8)
        value = _f64(times + 41) * weight + (1.0 if code == _APPROVED else 0.0)
        memcpy(times + 41, &value, 8)
        value = _f64(times + 49) * weight + (1.0 if code == _TECHNICAL else 0.0)
        memcpy(times + 49, &value, 8)
        times[32] = code if at > last or code > times[32] else times[32]
        memcpy(times + 16, &at, 8)
        if code == _APPROVED and at > _i64(times + 24):
            memcpy(times + 24, &at, 8)
    return made
