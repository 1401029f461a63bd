# Part of choice_native.pyx: the choice, and its ranking, as Structs. This part must not decide anything.

cdef Py_ssize_t R_PROCESSOR = place_of(RankedProcessor, "processor")
cdef Py_ssize_t R_APPROVAL = place_of(RankedProcessor, "approval_probability")
cdef Py_ssize_t R_COST = place_of(RankedProcessor, "cost_minor")
cdef Py_ssize_t R_VALUE = place_of(RankedProcessor, "expected_value_minor")
cdef Py_ssize_t R_PROPENSITY = place_of(RankedProcessor, "propensity")
cdef Py_ssize_t R_ELIGIBLE = place_of(RankedProcessor, "eligible")
cdef Py_ssize_t R_REASONS = place_of(RankedProcessor, "reasons")
cdef Py_ssize_t R_MODES = place_of(RankedProcessor, "modes")
cdef Py_ssize_t M_AUTHENTICATION = place_of(Mode, "authentication")
cdef Py_ssize_t M_CREDENTIAL = place_of(Mode, "credential")
cdef Py_ssize_t M_APPROVAL = place_of(Mode, "approval_probability")
cdef Py_ssize_t M_VALUE = place_of(Mode, "expected_value_minor")
cdef Py_ssize_t C_ACTION = place_of(choice.Choice, "action")
cdef Py_ssize_t C_INDEX = place_of(choice.Choice, "index")
cdef Py_ssize_t C_PROCESSOR = place_of(choice.Choice, "processor")
cdef Py_ssize_t C_APPROVAL = place_of(choice.Choice, "approval_probability")
cdef Py_ssize_t C_RANKING = place_of(choice.Choice, "ranking")
cdef Py_ssize_t C_TIER = place_of(choice.Choice, "risk_tier")
cdef Py_ssize_t C_THREE_DS = place_of(choice.Choice, "three_ds")
cdef Py_ssize_t C_EXEMPTION = place_of(choice.Choice, "exemption")
cdef Py_ssize_t C_REASONS = place_of(choice.Choice, "reasons")
cdef Py_ssize_t C_LIABILITY = place_of(choice.Choice, "liability")
cdef Py_ssize_t C_CREDENTIAL = place_of(choice.Choice, "credential")
cdef Py_ssize_t C_RESERVATION = place_of(choice.Choice, "reservation")

# The number of fields that are filled: with one more this kernel would leave it empty.
for _struct, _fields in ((RankedProcessor, 8), (Mode, 4), (choice.Choice, 12), (Reason, 2)):
    if len(_struct.__struct_fields__) != _fields:
        raise ImportError(f"{_struct.__name__} has other fields")


cdef object choice_of(
    Action action, Candidate *chosen, bint sent, bint challenged, Corridor corridor, tuple processors,
    list said, Held *held, Ways *ways, Lineup *lineup, double *odds,
):
    """Return the choice."""
    cdef object made = pm_blank(<PyObject *>choice.Choice)
    cdef PyObject *raw = <PyObject *>made
    cdef PyObject *none = <PyObject *>None
    cdef Way *way = &ways.every[chosen.ways[0].way] if chosen != NULL else NULL
    cdef object ranking = _ranking(lineup, ways, processors, odds)
    cdef object reasons = tuple(said if len(said) <= MOST_REASONS else said[:MOST_REASONS])
    cdef object reservation = None
    cdef tuple binding = <tuple>corridor.binding[held.initiator]
    if binding and sent:
        reservation = corridor.reserved[held.initiator]
        if reservation is None:
            reservation = tuple([limit.of(held.amount) for limit in binding])
    index = chosen.index if sent else None
    pm_put(raw, C_ACTION, PyTuple_GET_ITEM(_ACTIONS, <int>action))
    pm_put(raw, C_INDEX, <PyObject *>index)
    pm_put(raw, C_PROCESSOR, PyTuple_GET_ITEM(processors, chosen.index) if sent else none)
    if chosen == NULL:
        pm_put(raw, C_APPROVAL, none)
    else:
        pm_give(raw, C_APPROVAL, PyFloat_New(chosen.ways[0].p))
    pm_put(raw, C_RANKING, <PyObject *>ranking)
    pm_put(raw, C_TIER, PyTuple_GET_ITEM(_TIERS, held.tier))
    pm_put(raw, C_THREE_DS, <PyObject *>(_CHALLENGE if challenged else _NONE))
    pm_put(raw, C_EXEMPTION, PyTuple_GET_ITEM(_EXEMPTIONS, <int>held.duty) if sent and not challenged else none)
    pm_put(raw, C_REASONS, <PyObject *>reasons)
    if sent:
        pm_put(raw, C_LIABILITY, <PyObject *>(_ISSUER if way.secure else _MERCHANT))
        pm_put(raw, C_CREDENTIAL, way.credential)
    else:
        pm_put(raw, C_LIABILITY, none)
        pm_put(raw, C_CREDENTIAL, none)
    pm_put(raw, C_RESERVATION, <PyObject *>reservation)
    return made


cdef object _ranking(Lineup *lineup, Ways *ways, tuple processors, double *odds):
    """Return the candidates as an answer ranks them: those in the running, then the others in the static order."""
    cdef int count = lineup.running + lineup.out + lineup.refused
    cdef int place, out = 0, refused = 0
    cdef object ranking = PyTuple_New(count)
    cdef object entry
    for place in range(count):
        if place < lineup.running:
            entry = _ranked(&lineup.every[lineup.runners[place]], ways, processors, odds[place])
        elif refused >= lineup.refused or (out < lineup.out and lineup.outs[out] < lineup.refusals[refused]):
            entry = _ranked(&lineup.every[lineup.outs[out]], ways, processors, 0.0)
            out += 1
        else:
            entry = _refused(
                <object>PyTuple_GET_ITEM(processors, lineup.refusals[refused]),
                lineup.repeated[lineup.refusals[refused]],
            )
            refused += 1
        Py_INCREF(entry)
        PyTuple_SET_ITEM(ranking, place, entry)
    return ranking


cdef object _ranked(Candidate *one, Ways *ways, tuple processors, double odds):
    cdef object made = pm_blank(<PyObject *>RankedProcessor)
    cdef PyObject *raw = <PyObject *>made
    cdef object modes = _NO_CODES
    cdef object mode
    cdef int place
    pm_put(raw, R_PROCESSOR, PyTuple_GET_ITEM(processors, one.index))
    pm_give(raw, R_APPROVAL, PyFloat_New(one.ways[0].p))
    pm_give(raw, R_COST, PyLong_New(even_of(one.ways[0].cost)))
    pm_give(raw, R_VALUE, PyFloat_New(one.ways[0].value))
    if odds == 0.0:
        pm_put(raw, R_PROPENSITY, <PyObject *>_ZERO)
    elif odds == 1.0:
        pm_put(raw, R_PROPENSITY, <PyObject *>_ONE)
    else:
        pm_give(raw, R_PROPENSITY, PyFloat_New(odds))
    pm_put(raw, R_ELIGIBLE, <PyObject *>(_FALSE if PyTuple_GET_SIZE(<object>one.codes) else _TRUE))
    pm_put(raw, R_REASONS, one.codes)
    if one.count > 1:
        modes = PyTuple_New(one.count)
        for place in range(one.count):
            mode = _mode(&one.ways[place], ways, raw if place == 0 else NULL)
            Py_INCREF(mode)
            PyTuple_SET_ITEM(modes, place, mode)
    pm_put(raw, R_MODES, <PyObject *>modes)
    return made


cdef object _mode(Weighed *weighed, Ways *ways, PyObject *ranked):
    """Return a way of sending; the best one shares its numbers with its candidate."""
    cdef object made = pm_blank(<PyObject *>Mode)
    cdef PyObject *raw = <PyObject *>made
    cdef Way *way = &ways.every[weighed.way]
    pm_put(raw, M_AUTHENTICATION, PyTuple_GET_ITEM(_LABELS, <int>way.label))
    pm_put(raw, M_CREDENTIAL, way.credential)
    if ranked != NULL:
        pm_put(raw, M_APPROVAL, pm_at(ranked, R_APPROVAL))
        pm_put(raw, M_VALUE, pm_at(ranked, R_VALUE))
    else:
        pm_give(raw, M_APPROVAL, PyFloat_New(weighed.p))
        pm_give(raw, M_VALUE, PyFloat_New(weighed.value))
    return made


cdef object _refused(object processor, bint repeated):
    return RankedProcessor(
        processor=processor,
        approval_probability=0.0,
        cost_minor=0,
        expected_value_minor=0.0,
        propensity=0.0,
        eligible=False,
        reasons=("repeated" if repeated else "no_estimate",),
    )
