# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `features.state.add` does with an event in order, and `features.undo.last_seen`, in C: the same bytes and answers.

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
    cdef int rings
    cdef int64_t[8] per_hop    # of a ring's tiles, in tiles of the finest
    cdef int64_t[8] reach      # of a ring, in its own tiles
    cdef bytes nothing         # the state of an entity to which nothing was added

    def __init__(self, layout):
        cdef int at
        self.mark, self.head_size, self.words = layout.mark, layout.head_size, layout.words
        self.members, self.streak, self.hop, self.half_life = layout.members, layout.streak, layout.hop, layout.half_life
        self.count = len(layout.place)
        for at, (name, place) in enumerate(layout.place.items()):
            self.measure[at], self.place[at] = INDEX[name], place
        self.rings = len(layout.rings)
        for at, ring in enumerate(layout.rings):
            self.per_hop[at], self.reach[at] = ring.hop // layout.hop, ring.reach // ring.hop
        self.nothing = layout.mark + bytes(self.head_size - len(layout.mark))


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


cdef int _kept(Form form, const int32_t *tiles, int count, uint8_t *keep) noexcept:
    """Mark the rows that some ring keeps, and return how many; see `features.state._kept`."""
    cdef int ring, place, kept = 0
    cdef int64_t per_hop, oldest, hop, before
    for place in range(count):
        keep[place] = 0
    for ring in range(form.rings):
        per_hop = form.per_hop[ring]
        oldest = (tiles[count - 1] // per_hop - form.reach[ring]) * per_hop
        before = -1
        for place in range(count):
            if tiles[place] < oldest:
                continue
            hop = tiles[place] // per_hop
            if hop != before:
                keep[place] = 1
                before = hop
    for place in range(count):
        kept += keep[place]
    return kept


cdef bytes _begun(Form form, const uint8_t *b, int32_t tile):
    """Return a whole state with one more tile, later than all others, and without the rows that no ring keeps any more."""
    cdef int32_t[513] tiles
    cdef uint8_t[513] keep
    cdef int n = b[6] | (b[7] << 8), m = b[8], k = b[9], place, kept, size = 4 * form.words
    if n > 512:
        return None
    memcpy(tiles, b + form.head_size, 4 * n)
    tiles[n] = tile
    if n and tiles[0] < 0:
        return None
    kept = _kept(form, tiles, n + 1, keep)
    made = PyBytes_FromStringAndSize(NULL, form.head_size + kept * (4 + size) + 8 * (m + k))
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    memcpy(out, b, form.head_size)
    out[6], out[7] = kept & 0xFF, kept >> 8
    cdef uint8_t *to = out + form.head_size
    for place in range(n + 1):
        if keep[place]:
            memcpy(to, &tiles[place], 4)
            to += 4
    cdef const uint8_t *rows = b + form.head_size + 4 * n
    for place in range(n):
        if keep[place]:
            memcpy(to, rows + place * size, size)
            to += size
    # The newest is always kept: its row is what was there before it.
    memcpy(to, b + 10, size)
    memcpy(to + size, rows + n * size, 8 * (m + k))
    return <bytes>made


cdef bytes _with_member(Form form, const uint8_t *b, Py_ssize_t length, uint32_t mine, int32_t tile):
    """Return a whole state that remembers a value as seen in its newest tile, the newest and the largest first."""
    cdef int n = b[6] | (b[7] << 8), m = b[8], k = b[9], place, count = 0
    cdef Py_ssize_t end = form.head_size + <Py_ssize_t>n * (4 + 4 * form.words)
    cdef bint is_put = False
    cdef uint8_t[8 * 257] kept
    cdef const uint8_t *entry
    cdef uint8_t *at
    for place in range(m):
        entry = b + end + 8 * place
        if _u32(entry) == mine:
            continue
        if not is_put and (_i32(entry + 4) < tile or (_i32(entry + 4) == tile and _u32(entry) < mine)):
            at = kept + 8 * count
            memcpy(at, &mine, 4)
            memcpy(at + 4, &tile, 4)
            count += 1
            is_put = True
        memcpy(kept + 8 * count, entry, 8)
        count += 1
    if not is_put:
        at = kept + 8 * count
        memcpy(at, &mine, 4)
        memcpy(at + 4, &tile, 4)
        count += 1
    if count > form.members:
        count = form.members
    made = PyBytes_FromStringAndSize(NULL, end + 8 * (count + k))
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    memcpy(out, b, end)
    out[8] = count
    memcpy(out + end, kept, 8 * count)
    memcpy(out + end + 8 * count, b + end + 8 * m, 8 * k)
    return <bytes>made


cdef bint _in_order(const uint8_t *members, int count) noexcept:
    """Tell whether remembered values are the newest first, and of one tile the largest first."""
    cdef int place
    for place in range(1, count):
        if _i32(members + 8 * place + 4) > _i32(members + 8 * place - 4):
            return False
        if _i32(members + 8 * place + 4) == _i32(members + 8 * place - 4) and _u32(members + 8 * place) >= _u32(members + 8 * place - 8):
            return False
    return True


def add_in_order(layout, blob, increment, member):
    """Return the state after an event that comes in order; None for any other.

    Plain is what `features.state.add` sees nearly always: a state that is new or whole, an event in its newest tile or in a
    later one. Declines in a row, what is taken back and sums that run over are left to it.
    """
    cdef Form form = _form(layout)
    if blob is None:
        blob = form.nothing
    elif type(blob) is not bytes:
        return None
    cdef const uint8_t *b = <const uint8_t *>PyBytes_AS_STRING(blob)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(blob), end
    if not _whole(form, b, length):
        return None
    cdef int n = b[6] | (b[7] << 8), m = b[8], k = b[9], place
    cdef tuple deltas = <tuple>increment[1]
    cdef int64_t at = increment[0], tile
    cdef int code = increment[2]
    if at < 0:
        return None
    tile = at // form.hop
    if tile > 0x7FFFFFFF or (n and tile < _i32(b + form.head_size + 4 * (n - 1))):
        return None
    if code < 0 or (code and form.streak and (k or <int64_t>deltas[_DECLINED])):
        return None
    if code and at < _i64(b + 10 + 4 * form.words + 16):
        return None
    cdef bint is_attempt = <int64_t>deltas[_ATTEMPTS] != 0
    cdef int64_t delta
    cdef bint counted = False
    for place in range(form.count):
        delta = deltas[form.measure[place]]
        if delta:
            if delta < 0 or delta > 0xFFFFFFFF or <int64_t>_u32(b + 10 + 4 * form.place[place]) + delta > 0xFFFFFFFF:
                return None
            counted = True
    if not counted:
        return None
    cdef bytes made = None
    cdef uint32_t mine
    cdef bint is_new = n == 0 or tile > _i32(b + form.head_size + 4 * (n - 1)), is_known = False
    if is_new:
        made = _begun(form, b, <int32_t>tile)
        if made is None:
            return None
        b, length = <const uint8_t *>PyBytes_AS_STRING(made), PyBytes_GET_SIZE(made)
        n = b[6] | (b[7] << 8)
    if member is not None and form.members and is_attempt:
        mine = member
        end = form.head_size + <Py_ssize_t>n * (4 + 4 * form.words)
        if not _in_order(b + end, m) or (m and _i32(b + end + 4) > tile):
            return None
        for place in range(m):
            if _u32(b + end + 8 * place) == mine and _i32(b + end + 8 * place + 4) == tile:
                is_known = True
                break
        if not is_known:
            made = _with_member(form, b, length, mine, <int32_t>tile)
            b, length = <const uint8_t *>PyBytes_AS_STRING(made), PyBytes_GET_SIZE(made)
    if made is None:
        made = PyBytes_FromStringAndSize(<const char *>b, length)
    # Nobody else has seen these bytes yet.
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(made)
    cdef uint32_t word
    for place in range(form.count):
        delta = deltas[form.measure[place]]
        if delta:
            word = <uint32_t>(<int64_t>_u32(out + 10 + 4 * form.place[place]) + delta)
            memcpy(out + 10 + 4 * form.place[place], &word, 4)
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
