# Part of choice_native.pyx: the attempts of a card as `service.ledger` packs them, counted in C; and what stands for a question.
# This part must not know why attempts are counted.

cdef object packed_of(object ledger, Ledger *found):
    """Find the entries of a ledger, packed or read; return what owns them."""
    cdef uint16_t count
    cdef bytes packed
    found.count, found.entries = 0, NULL
    if ledger is None:
        return None
    if PyBytes_CheckExact(ledger):
        packed = ledger
        if PyBytes_GET_SIZE(packed) < 3 or PyBytes_AS_STRING(packed)[0] != 1:
            return None
        memcpy(&count, PyBytes_AS_STRING(packed) + 1, 2)
        if count > MOST_ENTRIES or PyBytes_GET_SIZE(packed) != 3 + ENTRY_SIZE * count:
            return None
        found.entries, found.count = PyBytes_AS_STRING(packed) + 3, count
        return packed
    if not _listed(ledger):
        raise TypeError("expected a ledger")
    if not ledger:
        return None
    try:
        packed = b"".join([ENTRY.pack(*entry) for entry in ledger])
    except Exception as error:
        raise TypeError("expected entries") from error
    found.entries, found.count = PyBytes_AS_STRING(packed), <int>(PyBytes_GET_SIZE(packed) // ENTRY_SIZE)
    return packed


cdef uint64_t _attempt_id(request) except? 0:
    """`service.ledger.attempt_id` of the attempt asked about."""
    cdef char[1100] text
    cdef Py_ssize_t size
    cdef int64_t attempt = <object>_field(request, ATTEMPT)
    cdef const char *name = PyUnicode_AsUTF8AndSize(<object>_field(request, PAYMENT_ID), &size)
    cdef int head = pm_whole(text, attempt)
    if size > 1024:
        raise OverflowError("expected a shorter id")
    text[head] = b":"
    memcpy(text + head + 1, name, size)
    return digest_of(text, head + 1 + size) >> 11


cdef double _draw_of(request) except? -1.0:
    """`service.policy.exploration.draw_of` of the question."""
    cdef char[1100] text
    cdef Py_ssize_t size
    cdef int64_t attempt = <object>_field(request, ATTEMPT)
    cdef const char *name = PyUnicode_AsUTF8AndSize(<object>_field(request, PAYMENT_ID), &size)
    cdef uint64_t digest, big = 0
    cdef double draw
    cdef int place
    if size > 1024:
        raise OverflowError("expected a shorter id")
    memcpy(text, name, size)
    text[size] = b":"
    digest = digest_of(text, size + 1 + pm_whole(text + size + 1, attempt))
    # The pure one reads the digest's bytes as a big endian number.
    for place in range(8):
        big = (big << 8) | (digest & 0xFF)
        digest >>= 8
    draw = <double>big / RANGE
    return BELOW_ONE if BELOW_ONE < draw else draw


cdef struct Entry:
    int64_t at
    uint64_t attempt
    uint64_t amount
    uint8_t status


cdef inline Entry _entry(Ledger *ledger, int place) noexcept:
    cdef Entry entry
    cdef const char *raw = ledger.entries + ENTRY_SIZE * place
    memcpy(&entry.at, raw, 8)
    memcpy(&entry.attempt, raw + 8, 8)
    memcpy(&entry.amount, raw + 16, 8)
    memcpy(&entry.status, raw + 24, 1)
    return entry


cdef int64_t _used(
    Ledger *ledger, int64_t window, bint resets, int64_t amount, int64_t at, uint64_t own
) noexcept:
    """`service.ledger.used`; an amount of -1 is any."""
    cdef int64_t oldest = at - window
    cdef int64_t start = oldest
    cdef int64_t count = 0
    cdef Entry entry
    cdef int place
    if resets:
        for place in range(ledger.count):
            entry = _entry(ledger, place)
            if entry.status == APPROVED and start < entry.at <= at and entry.attempt != own:
                start = entry.at
    for place in range(ledger.count):
        entry = _entry(ledger, place)
        if (
            entry.status != APPROVED
            and entry.at > (oldest if entry.status == RESERVED else start)
            and entry.attempt != own
            and (amount < 0 or entry.amount == <uint64_t>amount)
        ):
            count += 1
    return count


cdef bint _counted(request, Corridor corridor, Ledger *ledger, Held *held) except -1:
    """Say whether the issuer's counters of low value payments are known to be used up (`service.policy.exemption`)."""
    cdef uint64_t own
    cdef Entry entry
    cdef int place
    if not corridor.has_counter or ledger.count == 0:
        return False
    own = _attempt_id(request)
    held.low_count = held.low_total = 0
    for place in range(ledger.count - 1, -1, -1):
        entry = _entry(ledger, place)
        if entry.status == FAILED or entry.attempt == own:
            continue
        if corridor.below <= 0 or entry.amount >= <uint64_t>corridor.below:
            break
        held.low_count += 1
        held.low_total += <int64_t>entry.amount
    return not (
        held.low_count < corridor.payments and held.low_total + held.amount <= corridor.cumulated
    )
