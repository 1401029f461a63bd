# Part of choice_native.pyx: reasons put into words in C, a %-format of `service.policy.words` taken apart once and filled
# without a call. This part must not know when a reason is given.

cdef enum:
    MOST_PARTS = 8
    MOST_TEXT = 160
    LONGEST = 1000

cdef union Filling:
    double number
    long long whole
    PyObject *text

cdef struct Part:
    # What stands before it in the text, and what it is: 's', 'd', 'g' or 'f'; 0 for the end.
    unsigned char start
    unsigned char size
    char kind
    char precision

cdef struct Phrase:
    PyObject *words
    PyObject *code
    Part[MOST_PARTS + 1] parts
    char[MOST_TEXT] text

cdef object _PART = re.compile(r"%(?:\.(\d))?([sdgf])")
cdef Py_ssize_t REASON_CODE = place_of(Reason, "code")
cdef Py_ssize_t REASON_DETAIL = place_of(Reason, "detail")
# Owns what phrases borrow.
cdef list _kept = []


cdef Phrase phrase_of(tuple words) except *:
    """Take a code and its %-format apart; ImportError where C could not fill it."""
    cdef Phrase phrase
    cdef Py_ssize_t place = 0
    cdef bytes between
    cdef const char *letters
    code, template = words
    size = end = 0
    found = list(_PART.finditer(template))
    if len(found) > MOST_PARTS or not template.isascii() or len(template) >= MOST_TEXT or "%" in _PART.sub("", template):
        raise ImportError(f"{template!r} is no format that is known")
    for part in [*found, None]:
        between = template[end : len(template) if part is None else part.start()].encode()
        letters = between
        memcpy(&phrase.text[<int>size], letters, len(between))
        phrase.parts[place].start, phrase.parts[place].size = size, len(between)
        phrase.parts[place].kind = 0 if part is None else ord(part[2])
        phrase.parts[place].precision = 6 if part is None or part[1] is None else int(part[1])
        size += len(between)
        end = 0 if part is None else part.end()
        place += 1
    _kept.append(words)
    phrase.words, phrase.code = <PyObject *>words, <PyObject *>code
    return phrase


cdef object reason_of(Phrase *phrase, Filling *fillings):
    """Return the reason with its parts filled in, one filling for each."""
    cdef char[LONGEST + PM_NUMBER] text
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t more
    cdef int ascii = 1
    cdef int place = 0
    cdef Part *part
    cdef const char *letters
    while True:
        part = &phrase.parts[place]
        memcpy(text + size, phrase.text + part.start, part.size)
        size += part.size
        if part.kind == 0:
            return _reason(phrase, pm_string(text, size, ascii))
        if part.kind == b"s":
            letters = pm_letters(<object>fillings[place].text, &more, &ascii)
            if size + more > LONGEST - MOST_TEXT:
                return _long(phrase, fillings)
            memcpy(text + size, letters, more)
            size += more
        elif part.kind == b"d":
            size += pm_whole(text + size, fillings[place].whole)
        else:
            size += pm_number(text + size, fillings[place].number, part.kind, part.precision)
        if size > LONGEST - MOST_TEXT:
            return _long(phrase, fillings)
        place += 1


cdef object _long(Phrase *phrase, Filling *fillings):
    """Return a reason too long for the buffer."""
    cdef list values = []
    cdef int place = 0
    while phrase.parts[place].kind != 0:
        if phrase.parts[place].kind == b"s":
            values.append(<object>fillings[place].text)
        elif phrase.parts[place].kind == b"d":
            values.append(fillings[place].whole)
        else:
            values.append(fillings[place].number)
        place += 1
    return _reason(phrase, (<tuple>phrase.words)[1] % tuple(values))


cdef object _reason(Phrase *phrase, str detail):
    cdef object made = pm_blank(<PyObject *>Reason)
    pm_put(<PyObject *>made, REASON_CODE, phrase.code)
    pm_put(<PyObject *>made, REASON_DETAIL, <PyObject *>detail)
    return made


def said(tuple words, *values):
    """Return the reason of a code and its %-format with these values: strings, whole numbers below 2^63, floats."""
    cdef Filling[MOST_PARTS] fillings
    cdef Phrase phrase = phrase_of(words)
    cdef int place = 0
    while phrase.parts[place].kind != 0:
        if phrase.parts[place].kind == b"s":
            text = <str?>values[place]
            fillings[place].text = <PyObject *>text
        elif phrase.parts[place].kind == b"d":
            fillings[place].whole = values[place]
        else:
            fillings[place].number = values[place]
        place += 1
    return reason_of(&phrase, fillings)
