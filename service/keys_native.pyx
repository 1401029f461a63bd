# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a question reads and its attempt adds to, in C: `service.question.keys_of_question` and `service.record.updates_of`.

``tests/service/test_keys.py`` holds it to the reference.
"""

from zlib import crc32

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.layout import LAYOUTS, MEASURES
from service.store.base import StateKeys, Update

cdef tuple _PAYMENT = tuple(PAYMENT_KINDS)
cdef tuple _CANDIDATE = tuple(CANDIDATE_KINDS)
cdef tuple _DISTINCT = tuple([LAYOUTS[kind].distinct for kind in PAYMENT_KINDS])
cdef tuple _LAYOUTS = tuple([LAYOUTS[kind] for kind in (*PAYMENT_KINDS, *CANDIDATE_KINDS)])
cdef dict _TAKES = {}


cdef inline str _pair(str first, str second):
    return str(len(first)) + ":" + first + second


cdef inline tuple _of_payment(payment):
    cdef str card = payment.card_token
    cdef str merchant = payment.merchant_id
    return (card, payment.customer_id, payment.device_id, merchant, _pair(merchant, card), payment.card_bin, payment.issuer_country)


def keys(request, processors, str network, str ledger, str record, str answer):
    """Return the keys of all that an answer needs; see `service.question.keys_of_question`."""
    cdef list candidates = [], standings = []
    cdef str name, head
    cdef str merchant = request.merchant_id
    cdef str country = request.issuer_country
    card_bin = request.card_bin
    for each in processors:
        name = each
        head = str(len(name)) + ":" + name
        candidates.append((name, None if card_bin is None else head + <str>card_bin, head + country))
        standings.append("p:" + name)
        standings.append("n:" + head + network)
        standings.append("m:" + head + merchant)
    return StateKeys(_of_payment(request), tuple(candidates), record, tuple(standings), ledger, answer)


cdef tuple _taking(tuple deltas):
    """Return which kinds of entity take an event that is no more than what `deltas` say is not zero."""
    cdef tuple shape = tuple([delta != 0 for delta in deltas])
    found = _TAKES.get(shape)
    if found is None:
        if len(_TAKES) > 512:
            _TAKES.clear()
        found = _TAKES[shape] = tuple([layout.takes(deltas) for layout in _LAYOUTS])
    return <tuple>found


def updates(record, increment, processor):
    """Return an increment for each entity of an attempt; see `service.record.updates_of`."""
    cdef tuple takes = _taking(<tuple>increment[1])
    cdef tuple names = _of_payment(record)
    cdef bint is_attempt = increment.is_attempt
    cdef list made = []
    cdef Py_ssize_t place
    cdef Py_ssize_t count = len(_PAYMENT)
    cdef str name, head
    for place in range(count):
        key = names[place]
        if key is None or not takes[place]:
            continue
        member = None
        if is_attempt and _DISTINCT[place] is not None:
            value = getattr(record, _DISTINCT[place])
            if value is not None:
                member = crc32((<str>value).encode())
        made.append(Update(_PAYMENT[place], key, increment, member))
    if processor is not None:
        name = processor
        head = str(len(name)) + ":" + name
        card_bin = record.card_bin
        own = (name, None if card_bin is None else head + <str>card_bin, head + <str>record.issuer_country)
        for place in range(len(_CANDIDATE)):
            key = own[place]
            if key is not None and takes[count + place]:
                made.append(Update(_CANDIDATE[place], key, increment, None))
    return made
