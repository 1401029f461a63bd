# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What an answer writes and reads of Redis, as the very bytes that are sent: `service.store.command` in C.

``tests/service/store/test_native.py`` holds them to the reference. This module must not know connections.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.layout import AMOUNT, ATTEMPTS, LAYOUTS, MEASURES
from service.store import command
from service.store.base import ANSWER, EVENT, LEDGER, RECORD, STANDING, STATE, States

cdef int _AMOUNT = AMOUNT
cdef int _ATTEMPTS = ATTEMPTS
cdef int _MEASURES = len(MEASURES)
cdef object _move = command._move


cdef class _Kind:
    """What an attempt sends for one kind of entity: all but time, member and amount."""

    cdef bytes prefix, outline
    cdef int attempts, amount      # first word of each, as the script counts; 0 for a kind without

    def __init__(self, layout):
        self.prefix = f"{STATE}{layout.kind}:".encode()
        self.outline = command._OUTLINES[layout.kind]
        self.attempts = layout.place.get("attempts", -1) + 1
        self.amount = command._AMOUNT_WORDS[layout.kind]


cdef dict _KINDS = {kind: _Kind(layout) for kind, layout in LAYOUTS.items()}
cdef list _PAYMENT = [f"{STATE}{kind}:" for kind in PAYMENT_KINDS]
cdef list _CANDIDATE = [f"{STATE}{kind}:" for kind in CANDIDATE_KINDS]
cdef bytes _HEAD = b"$7\r\nEVALSHA\r\n$40\r\n" + command.SHA + b"\r\n"
cdef str _RECORD = RECORD
cdef str _STANDING = STANDING
cdef str _LEDGER = LEDGER
cdef str _ANSWER = ANSWER
cdef str _EVENT = EVENT
cdef bytes _RECORD_BYTES = RECORD.encode()
cdef bytes _LEDGER_BYTES = LEDGER.encode()
cdef bytes _ANSWER_BYTES = ANSWER.encode()
cdef bytes _EVENT_BYTES = EVENT.encode()


cdef class _Line:
    """A command under way: its arguments, one after the other."""

    cdef char *room
    cdef Py_ssize_t used, size
    cdef int count

    def __cinit__(self):
        self.size, self.used, self.count = 8192, 0, 0
        self.room = <char *>PyMem_Malloc(self.size)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.room)

    cdef inline int _grow(self, Py_ssize_t more) except -1:
        cdef char *room
        if self.used + more > self.size:
            while self.used + more > self.size:
                self.size *= 2
            room = <char *>PyMem_Realloc(self.room, self.size)
            if room == NULL:
                raise MemoryError
            self.room = room
        return 0

    cdef inline void _raw(self, const char *given, Py_ssize_t length) noexcept:
        memcpy(self.room + self.used, given, length)
        self.used += length

    cdef inline void _number(self, int64_t value) noexcept:
        cdef char[24] digits
        cdef int place = 24
        cdef bint below = value < 0
        if below:
            value = -value
        while True:
            place -= 1
            digits[place] = 48 + value % 10
            value //= 10
            if value == 0:
                break
        if below:
            place -= 1
            digits[place] = 45
        self._raw(&digits[place], 24 - place)

    cdef inline int _open(self, Py_ssize_t length) except -1:
        """Begin an argument of so many bytes."""
        self._grow(length + 40)
        self._raw(b"$", 1)
        self._number(length)
        self._raw(b"\r\n", 2)
        self.count += 1
        return 0

    cdef inline void _close(self) noexcept:
        self._raw(b"\r\n", 2)

    cdef int bulk(self, bytes given) except -1:
        self._open(PyBytes_GET_SIZE(given))
        self._raw(PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given))
        self._close()
        return 0

    cdef int name(self, bytes prefix, str key) except -1:
        cdef Py_ssize_t length
        cdef const char *text = PyUnicode_AsUTF8AndSize(key, &length)
        self._open(PyBytes_GET_SIZE(prefix) + length)
        self._raw(PyBytes_AS_STRING(prefix), PyBytes_GET_SIZE(prefix))
        self._raw(text, length)
        self._close()
        return 0

    cdef int text(self, str key) except -1:
        cdef Py_ssize_t length
        cdef const char *text = PyUnicode_AsUTF8AndSize(key, &length)
        self._open(length)
        self._raw(text, length)
        self._close()
        return 0

    cdef int number(self, int64_t value) except -1:
        cdef Py_ssize_t length = 1
        cdef int64_t rest = value if value >= 0 else -value
        while rest >= 10:
            rest //= 10
            length += 1
        if value < 0:
            length += 1
        self._open(length)
        self._number(value)
        self._close()
        return 0

    cdef int attempt(self, _Kind kind, int64_t at, uint64_t amount, object member) except -1:
        """Add what an attempt does to one entity: outline, event and words (`command._EVENT`, `_WORD`)."""
        cdef uint8_t[64] event
        cdef double moment = <double>at
        cdef uint32_t word
        cdef int size = 23, words = 0
        event[8] = 0                                    # code
        event[9] = 1 | (4 if member is not None else 0)  # an attempt, and whether it has a member
        memcpy(event, &moment, 8)
        word = 0 if member is None else <uint32_t>member
        memcpy(&event[10], &word, 4)
        memcpy(&event[14], &amount, 8)
        if kind.attempts:
            event[size] = kind.attempts
            word = 1
            memcpy(&event[size + 1], &word, 4)
            size += 5
            words += 1
        if kind.amount and amount:
            event[size] = kind.amount
            word = <uint32_t>(amount & 0xFFFFFFFF)
            memcpy(&event[size + 1], &word, 4)
            event[size + 5] = kind.amount + 1
            word = <uint32_t>(amount >> 32)
            memcpy(&event[size + 6], &word, 4)
            size += 10
            words += 2
        event[22] = words
        self._open(PyBytes_GET_SIZE(kind.outline) + size)
        self._raw(PyBytes_AS_STRING(kind.outline), PyBytes_GET_SIZE(kind.outline))
        self._raw(<const char *>event, size)
        self._close()
        return 0

    cdef bytes whole(self, bytes head):
        """Return the command: its number of arguments, what it begins with, and the arguments."""
        cdef bytes begin = b"*%d\r\n" % self.count
        cdef Py_ssize_t first = PyBytes_GET_SIZE(begin), second = PyBytes_GET_SIZE(head)
        made = PyBytes_FromStringAndSize(NULL, first + second + self.used)
        cdef char *out = PyBytes_AS_STRING(made)
        memcpy(out, PyBytes_AS_STRING(begin), first)
        memcpy(out + first, PyBytes_AS_STRING(head), second)
        memcpy(out + first + second, self.room, self.used)
        return made


cdef bint _plain(increment) except -1:
    """Tell whether an increment is one attempt and nothing else."""
    cdef tuple deltas = <tuple>increment[1]
    cdef int place
    if increment[2] != 0 or len(deltas) != _MEASURES or <int64_t>deltas[_ATTEMPTS] != 1 or deltas[_AMOUNT] < 0:
        return False
    for place in range(_MEASURES):
        if place != _ATTEMPTS and place != _AMOUNT and <int64_t>deltas[place] != 0:
            return False
    return True


def decided(int64_t event_ttl_ms, decision):
    """Return what `command.decided` does, packed; None for what is left to it."""
    event_id, updates, records, answer, reservation = decision
    cdef _Line line = _Line()
    cdef _Kind kind
    cdef int flags = 0, keys = 0, place
    cdef list counted = []
    cdef object increment = None
    if event_id is not None:
        seen = set()
        for update in updates:
            kind = _KINDS[update[0]]
            if increment is None:
                increment = update[2]
                if not _plain(increment):
                    return None
            elif update[2] is not increment and update[2] != increment:
                return None
            if not kind.attempts and not kind.amount:
                continue
            name = (update[0], update[1])
            if name in seen:
                return None
            seen.add(name)
            counted.append((kind, update))
    if answer is not None:
        flags |= 1
        keys += 1
    if reservation is not None:
        flags |= 2
        keys += 1
    if event_id is not None:
        flags |= 4
        keys += 1
    line.count = 2
    line.number(keys + len(records) + len(counted))
    if answer is not None:
        line.name(_ANSWER_BYTES, answer[0])
    if reservation is not None:
        line.name(_LEDGER_BYTES, reservation[0])
    if event_id is not None:
        line.name(_EVENT_BYTES, event_id)
    for record in records:
        line.name(_RECORD_BYTES, record[0])
    for kind, update in counted:
        line.name(kind.prefix, update[1])
    cdef uint8_t[5] plan
    plan[0] = flags
    plan[1], plan[2] = len(records) & 0xFF, len(records) >> 8
    plan[3] = plan[4] = 0
    line.bulk(PyBytes_FromStringAndSize(<const char *>plan, 5))
    line.number(event_ttl_ms)
    if answer is not None:
        line.bulk(answer[1])
        line.number(answer[2] * 1000)
    if reservation is not None:
        line.bulk(_move(reservation))
    for record in records:
        line.bulk(record[1])
        line.number(record[2] * 1000)
    for kind, update in counted:
        line.attempt(kind, increment[0], increment[1][_AMOUNT], update[3])
    return line.whole(_HEAD)


def names(keys):
    """Return the name of every key of a question; None where there is none: `base.named` for one Redis."""
    payment, candidates, record, standings, ledger, answer = keys
    cdef list made = []
    cdef int place
    for place in range(len(payment)):
        key = payment[place]
        made.append(None if key is None else <str>_PAYMENT[place] + <str>key)
    for one in candidates:
        for place in range(len(one)):
            key = one[place]
            made.append(None if key is None else <str>_CANDIDATE[place] + <str>key)
    for key in standings:
        made.append(_STANDING + <str>key)
    made.append(None if record is None else _RECORD + <str>record)
    made.append(None if ledger is None else _LEDGER + <str>ledger)
    made.append(None if answer is None else _ANSWER + <str>answer)
    return made


def shaped(keys, list blobs):
    """Return the answers to `names` in the shape of the question: `base.shaped`."""
    payment, candidates, _, standings, _, _ = keys
    cdef Py_ssize_t place = len(payment), width
    cdef list rows = []
    head = tuple(blobs[:place])
    for one in candidates:
        width = len(one)
        rows.append(tuple(blobs[place : place + width]))
        place += width
    width = len(standings)
    end = place + width
    return States(head, tuple(rows), blobs[end], tuple(blobs[place:end]), blobs[end + 1], blobs[end + 2])


def mget(list questions):
    """Return one MGET of all that is asked, and for each question the places of its names among the answers, -1 for none."""
    cdef _Line line = _Line()
    cdef dict places = {}
    cdef list of_each = [], mine
    line.text("MGET")
    for question in questions:
        mine = []
        for name in question:
            if name is None:
                mine.append(-1)
                continue
            place = places.get(name)
            if place is None:
                place = places[name] = len(places)
                line.text(<str>name)
            mine.append(place)
        of_each.append(mine)
    return (line.whole(b"") if places else None), of_each


def taken(list values, list places):
    """Return the answers to one question of several."""
    cdef list mine = []
    cdef Py_ssize_t place
    for at in places:
        place = at
        mine.append(None if place < 0 else values[place])
    return mine
