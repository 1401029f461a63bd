# Part of choice_native.pyx: what is demanded, and why the answer is as it is. This part must not know how it is weighed.

cdef Phrase p_risk_tier = phrase_of(words.RISK_TIER)
cdef Phrase p_risk_decline = phrase_of(words.RISK_DECLINE)
cdef Phrase p_risk_review = phrase_of(words.RISK_REVIEW)
cdef Phrase p_risk_challenge = phrase_of(words.RISK_CHALLENGE)
cdef Phrase p_customer_absent = phrase_of(words.CUSTOMER_ABSENT)
cdef Phrase p_already_authenticated = phrase_of(words.ALREADY_AUTHENTICATED)
cdef Phrase p_low_approval = phrase_of(words.LOW_APPROVAL)
cdef Phrase p_attempt_limit = phrase_of(words.ATTEMPT_LIMIT)
cdef Phrase p_no_candidate = phrase_of(words.NO_CANDIDATE)
cdef Phrase p_all_ineligible = phrase_of(words.ALL_INELIGIBLE)
cdef Phrase p_negative_value = phrase_of(words.NEGATIVE_VALUE)
cdef Phrase p_fees_unknown = phrase_of(words.FEES_UNKNOWN)
cdef Phrase p_unsupported = phrase_of(words.UNSUPPORTED)
cdef Phrase p_sent_without = phrase_of(words.SENT_WITHOUT)
cdef Phrase p_sent_as_asked = phrase_of(words.SENT_AS_ASKED)
cdef Phrase p_challenge_pays = phrase_of(words.CHALLENGE_PAYS)
cdef Phrase p_probed = phrase_of(words.PROBED)
cdef Phrase p_explored = phrase_of(words.EXPLORED)
cdef Phrase p_highest_approval = phrase_of(words.HIGHEST_APPROVAL)
cdef Phrase p_static_order = phrase_of(words.STATIC_ORDER)
cdef Phrase p_best_value = phrase_of(words.BEST_VALUE)
cdef Phrase p_low_value = phrase_of(words.LOW_VALUE)
cdef Phrase p_risk_analysis = phrase_of(words.RISK_ANALYSIS)
cdef Phrase p_used_up = phrase_of(words.USED_UP)


cdef bint spent(
    request, Corridor corridor, Held *held, Ledger *entries, int64_t at, list said
) except -1:
    """Say whether an attempt limit is used up; the attempt asked about is not counted."""
    cdef tuple binding = <tuple>corridor.binding[held.initiator]
    cdef Filling[MOST_PARTS] fillings
    cdef uint64_t own
    cdef int64_t count
    if entries.count == 0 or not binding or entries.count < corridor.least[held.initiator]:
        return False
    own = _attempt_id(request)
    for limit in binding:
        if entries.count < limit.limit:
            continue
        counted = limit.counted
        count = _used(
            entries, counted.window_us, counted.resets, held.amount if limit.same_amount else -1, at, own
        )
        if count >= limit.limit:
            fillings[0].whole = count
            fillings[1].whole = limit.limit
            fillings[2].whole = limit.window_seconds
            source = limit.bound.id
            fillings[3].text = <PyObject *>source
            said.append(reason_of(&p_attempt_limit, fillings))
            return True
    return False


cdef Action judge(Held *held, Deal deal, Lineup *lineup, list said) except *:
    """Settle what risk and the best approval probability demand of an auth request, but for a challenge."""
    cdef Filling[MOST_PARTS] fillings
    cdef double best
    cdef int place
    fillings[0].number = held.risk
    if held.risk >= deal.decline_from:
        fillings[1].number = deal.decline_from
        said.append(reason_of(&p_risk_decline, fillings))
        return Action.DECLINE
    if lineup.running:
        best = lineup.every[lineup.runners[0]].ways[0].unbroken
        for place in range(1, lineup.running):
            if lineup.every[lineup.runners[place]].ways[0].unbroken > best:
                best = lineup.every[lineup.runners[place]].ways[0].unbroken
        if best < deal.minimum_approval:
            fillings[0].number = best
            fillings[1].number = deal.minimum_approval
            said.append(reason_of(&p_low_approval, fillings))
            return Action.DECLINE
    if held.risk >= deal.review_from:
        fillings[1].number = deal.review_from
        said.append(reason_of(&p_risk_review, fillings))
        return Action.REVIEW
    if held.risk >= deal.challenge_from:
        fillings[1].number = deal.challenge_from
        if held.initiator == 1:
            said.append(reason_of(&p_customer_absent, fillings))
            return Action.REVIEW
        if held.secure:
            said.append(reason_of(&p_already_authenticated, fillings))
    return Action.APPROVE


cdef int explain(Lineup *lineup, int place, double *odds, tuple processors, list said) except -1:
    """Give the reason why a candidate was chosen."""
    cdef Filling[MOST_PARTS] fillings
    cdef Candidate *best = &lineup.every[lineup.runners[0]]
    cdef Candidate *chosen = &lineup.every[lineup.runners[place]]
    cdef Candidate *second
    cdef PyObject *name = PyTuple_GET_ITEM(processors, best.index)
    if place:
        fillings[0].text = PyTuple_GET_ITEM(processors, chosen.index)
        fillings[1].number = odds[place]
        fillings[2].text = name
        said.append(reason_of(&p_probed, fillings) if chosen.trial else reason_of(&p_explored, fillings))
        return 0
    fillings[0].text = name
    if best.ways[0].kind:
        fillings[1].number = best.ways[0].p
        said.append(reason_of(&p_highest_approval, fillings))
        return 0
    if lineup.running > 1:
        second = &lineup.every[lineup.runners[1]]
        if second.ways[0].value == best.ways[0].value and second.ways[0].kind == 0:
            fillings[1].text = PyTuple_GET_ITEM(processors, second.index)
            fillings[2].number = best.ways[0].value
            said.append(reason_of(&p_static_order, fillings))
            return 0
    fillings[1].number = best.ways[0].value
    fillings[2].number = best.ways[0].p
    said.append(reason_of(&p_best_value, fillings))
    return 0


cdef Action tell(
    request, Action action, Candidate *chosen, Corridor corridor, Deal deal, Held *held, Ways *ways,
    tuple processors, list said,
) except *:
    """Give the reasons for the way of sending; return the action."""
    cdef Filling[MOST_PARTS] fillings
    cdef Way *way = &ways.every[chosen.ways[0].way]
    cdef PyObject *name = PyTuple_GET_ITEM(processors, chosen.index)
    cdef bint found = False
    cdef double other = 0.0
    cdef int place
    if held.demanded:
        fillings[0].number = held.risk
        fillings[1].number = deal.challenge_from
        if not way.challenge:
            fillings[2].text = name
            said.insert(1, reason_of(&p_unsupported, fillings))
            return Action.REVIEW
        said.insert(1, reason_of(&p_risk_challenge, fillings))
    if held.duty == Duty.REQUIRED or held.duty == Duty.USED_UP:
        said.append(duty_of(request, corridor, deal, held))
        if not way.challenge:
            if held.present:
                fillings[0].text = name
                said.append(reason_of(&p_sent_without, fillings))
            else:
                fillings[0].text = <PyObject *>_ROUTING
                said.append(reason_of(&p_sent_as_asked, fillings))
    elif way.challenge:
        for place in range(chosen.count):
            if not ways.every[chosen.ways[place].way].challenge:
                if not found or chosen.ways[place].value > other:
                    other = chosen.ways[place].value
                found = True
        if found and not held.demanded:
            fillings[0].number = chosen.ways[0].value
            fillings[1].number = other
            said.append(reason_of(&p_challenge_pays, fillings))
    elif held.duty != Duty.NO_DUTY:
        said.append(duty_of(request, corridor, deal, held))
    return action


cdef object duty_of(request, Corridor corridor, Deal deal, Held *held):
    """Return the reason of a duty to authenticate, or of its exemption."""
    cdef Filling[MOST_PARTS] fillings
    cdef PyObject *currency = _field(request, CURRENCY)
    if held.duty == Duty.ONE_LEG_OUT:
        return corridor.one_leg
    if held.duty == Duty.MERCHANT_INITIATED:
        return corridor.absent
    if held.duty == Duty.REQUIRED:
        return corridor.required
    if held.duty == Duty.LOW_VALUE:
        fillings[0].whole = held.amount
        fillings[1].whole = corridor.below
        fillings[2].text = currency
        fillings[3].text = <PyObject *>corridor.source
        return reason_of(&p_low_value, fillings)
    if held.duty == Duty.RISK_ANALYSIS:
        source = <str>corridor.band_ids[held.band]
        fillings[0].whole = held.amount
        fillings[1].whole = corridor.up_to[held.band]
        fillings[2].text = currency
        fillings[3].number = deal.fraud
        fillings[4].number = corridor.rates[held.band]
        fillings[5].text = <PyObject *>source
        return reason_of(&p_risk_analysis, fillings)
    fillings[0].whole = held.low_count
    fillings[1].whole = held.low_total
    fillings[2].whole = corridor.payments
    fillings[3].whole = corridor.cumulated
    fillings[4].text = <PyObject *>corridor.counter
    return reason_of(&p_used_up, fillings)
