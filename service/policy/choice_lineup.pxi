# Part of choice_native.pyx: the ways of sending, and every candidate weighed in each (`service.policy.modes`, `.candidate`,
# `.lineup`). This part must not know chance, nor words.

cdef struct Way:
    Label label
    int variant
    PyObject *credential
    bint token
    bint challenge
    bint secure
    double passing
    double earned


cdef struct Ways:
    int allowed
    int asked
    bint must
    # The allowed come from `first` on in `all`, the asked from its beginning.
    int first
    Way[2 * MOST_WAYS] every


cdef struct Weighed:
    int way
    double p
    double unbroken
    double cost
    double value
    double gain
    # What it is ordered by: 0 by value, 1 by the chance of an approval and then the cost.
    int kind
    double lead
    double follow


cdef struct Candidate:
    int index
    int count
    Weighed[MOST_WAYS] ways
    double doubt
    bint trial
    bint slow
    PyObject *codes


cdef struct Lineup:
    Candidate[MOST_CANDIDATES] every
    int running
    int out
    int refused
    bint forced
    int[MOST_CANDIDATES] runners
    int[MOST_CANDIDATES] outs
    int[MOST_CANDIDATES] refusals
    bint[MOST_CANDIDATES] repeated


cdef int ways_of(request, tuple variants, Held *held, Parameters *parameters, Ways *ways) except -1:
    """Return the ways a payment may be sent, as `service.policy.modes.ways_of`."""
    cdef double honest = (1.0 - held.risk) * (1.0 - parameters.abandonment)
    cdef double bare = held.margin - held.risk * <double>(held.amount + parameters.chargeback)
    cdef double passing = honest + held.risk * (1.0 - parameters.stopped)
    cdef bint required = held.duty == Duty.REQUIRED or held.duty == Duty.USED_UP
    cdef bint must = held.demanded or required
    cdef bint pays = passing * held.margin - bare >= parameters.gain * held.margin
    cdef bint challenge = held.present and (must or pays)
    cdef bint exempt = not required and held.duty != Duty.NO_DUTY
    cdef bint is_token = _true(_field(request, IS_TOKEN))
    cdef int place, asked = 0, more = 0
    cdef Way[MOST_WAYS] challenged
    cdef Way *way
    cdef PyObject *credential
    cdef bint token, three_ds
    for place in range(<int>PyTuple_GET_SIZE(variants)):
        variant = <object>PyTuple_GET_ITEM(variants, place)
        credential = _field(variant, CREDENTIAL)
        token = is_token if credential == <PyObject *>None else _same(credential, _NETWORK_TOKEN)
        three_ds = _same(_field(variant, AUTHENTICATION), _THREE_DS)
        if held.secure:
            # The first is the payment as asked, whatever it is called.
            if place > 0 and not three_ds:
                continue
            way = &ways.every[asked]
            asked += 1
            way.label, way.challenge, way.secure = Label.THREE_DS, False, True
            way.passing, way.earned = 1.0, held.margin
        elif not three_ds:
            if not _same(_field(variant, AUTHENTICATION), _NONE):
                raise TypeError("expected another authentication")
            way = &ways.every[asked]
            asked += 1
            way.label, way.challenge, way.secure = Label.EXEMPTION if exempt else Label.PLAIN, False, False
            way.passing, way.earned = 1.0, bare
        elif challenge:
            way = &challenged[more]
            more += 1
            way.label, way.challenge, way.secure = Label.THREE_DS, True, True
            way.passing, way.earned = passing, held.margin
        else:
            continue
        way.variant, way.credential, way.token = place, credential, token
    ways.asked = asked
    ways.must = challenge and must
    if challenge and must and more == 0:
        for place in range(asked):
            challenged[place] = ways.every[place]
            challenged[place].label = Label.THREE_DS
            challenged[place].challenge = challenged[place].secure = True
            challenged[place].passing, challenged[place].earned = passing, held.margin
        more = asked
    for place in range(more):
        ways.every[asked + place] = challenged[place]
    if not challenge:
        ways.first, ways.allowed = 0, asked
    elif must:
        ways.first, ways.allowed = asked, more
    else:
        ways.first, ways.allowed = 0, asked + more
    return 0


cdef bint lineup_of(
    Panel panel, Fares fares, tuple objections, approval, standings, Deal deal, int64_t at, Held *held, Ways *ways,
    Lineup *lineup, list codes,
) except -1:
    """Weigh every candidate, as `service.policy.lineup.Weigher.lineup`; False where a number is none.

    `codes` owns what candidates only borrow.
    """
    cdef int[MOST_WAYS] open_
    cdef PyObject **rows = PySequence_Fast_ITEMS(approval)
    cdef PyObject **told = PySequence_Fast_ITEMS(standings) if standings else NULL
    cdef Candidate *one
    cdef PyObject *health
    cdef tuple against
    cdef object volume
    cdef double excess, slowdown, shift, month, approved, missing, save
    cdef int index, place, count, lacking
    cdef bint down
    lineup.running = lineup.out = lineup.refused = 0
    lineup.forced = False
    for index in range(panel.count):
        lineup.repeated[index] = panel.repeated[index]
        if panel.repeated[index]:
            lineup.refusals[lineup.refused] = index
            lineup.refused += 1
            continue
        one = &lineup.every[index]
        one.index, one.doubt, one.trial = index, 0.0, False
        excess, slowdown, shift, month, down = 0.0, 1.0, 0.0, 0.0, False
        if told != NULL:
            standing = <object>told[index]
            if type(standing) is not Standing:
                return False
            health = _field(standing, HEALTH)
            if not _same(health, _UP):
                down = _same(health, _DOWN)
                one.trial = _same(health, _HALF_OPEN)
            excess = _double(_field(standing, EXCESS))
            slowdown = _double(_field(standing, SLOWDOWN))
            shift = _double(_field(standing, SHIFT))
            one.doubt = _double(_field(standing, DOUBT))
            month = _double(_field(standing, MONTH_MINOR))
        against = _IS_DOWN if down else _NO_CODES
        approved = fares.fixed[index] + held.amount * fares.share[index]
        if deal.volumes:
            volume = deal.volumes.get(<object>PyTuple_GET_ITEM(panel.processors, index))
            if volume is not None:
                if volume.cap_minor is not None and month >= <double>_whole(volume.cap_minor):
                    against = _CAP_REACHED_DOWN if down else _CAP_REACHED
                missing = <double>_whole(volume.commit_minor) - month
                if missing > 0.0:
                    save = volume.shortfall_share
                    approved -= save * (missing if missing < held.amount else held.amount)
        count = ways.allowed
        for place in range(count):
            open_[place] = ways.first + place
        if panel.limited[index]:
            against = against + <tuple>objections[index]
            for begins, ends in <tuple>panel.outages[index]:
                if begins <= at < ends:
                    against = against + _OUTAGE
                    break
            if not (panel.token[index] and panel.secure[index]):
                count = _usable(ways, panel.token[index], panel.secure[index], open_, &lacking)
                if lacking != 0:
                    against = against + (_TOKEN_UNSUPPORTED if lacking == 1 else _THREE_DS_UNSUPPORTED)
        if against is not _NO_CODES:
            codes.append(against)
        one.codes = <PyObject *>against
        one.slow = slowdown > SLOW
        if not weigh(
            one, ways, open_, count, rows, approved, fares.failed[index], panel.three_ds[index], excess, shift
        ):
            return False
        if one.count == 0:
            lineup.refusals[lineup.refused] = index
            lineup.refused += 1
        elif against:
            lineup.outs[lineup.out] = index
            lineup.out += 1
        else:
            lineup.runners[lineup.running] = index
            lineup.running += 1
    if lineup.running == 0 and lineup.out > 0:
        _least_bad(lineup)
        lineup.forced = lineup.running > 0
        _sort(lineup, False)
    else:
        _sort(lineup, True)
    return True


cdef bint weigh(
    Candidate *one, Ways *ways, int *open_, int count, PyObject **rows, double approved, double failed,
    double three_ds, double excess, double shift,
) except -1:
    """Weigh the ways of sending through one processor, as `service.policy.candidate.weigh`."""
    cdef double odds = 1.0
    cdef double working = 1.0 - excess
    cdef double unbroken, worth, sent
    cdef Way *way
    cdef Weighed new
    cdef PyObject *cell
    cdef int place, other
    if shift != 0.0:
        shift = MOST_SHIFT if MOST_SHIFT < shift else shift
        odds = exp(shift if shift > -MOST_SHIFT else -MOST_SHIFT)
    one.count = 0
    for place in range(count):
        way = &ways.every[open_[place]]
        cell = PySequence_Fast_ITEMS(<object>rows[way.variant])[one.index]
        if not PyFloat_CheckExact(<object>cell):
            return False
        unbroken = PyFloat_AS_DOUBLE(<object>cell)
        if not 0.0 <= unbroken <= 1.0:
            continue
        if odds != 1.0:
            unbroken *= odds / (odds * unbroken + (1.0 - unbroken))
        new.way = open_[place]
        new.unbroken = unbroken
        new.p = unbroken * working
        worth = way.earned - approved
        if way.challenge:
            sent = way.passing
            new.cost = sent * (new.p * approved + (1.0 - new.p) * failed) + three_ds
        else:
            sent = 1.0
            new.cost = new.p * approved + (1.0 - new.p) * failed
        new.value = sent * new.p * way.earned - new.cost
        new.gain = sent * (worth + failed)
        if worth > 0.0:
            new.kind, new.lead, new.follow = 0, -new.value, 0.0
        else:
            new.kind, new.lead, new.follow = 1, -sent * new.p, new.cost
        if not isfinite(new.value) or not isfinite(new.cost) or isnan(new.lead):
            return False
        if one.count and _before(&new, &one.ways[0]):
            for other in range(one.count, 0, -1):
                one.ways[other] = one.ways[other - 1]
            one.ways[0] = new
        else:
            one.ways[one.count] = new
        one.count += 1
    return True


cdef int _usable(Ways *ways, bint token, bint secure, int *open_, int *lacking) noexcept:
    """Keep the allowed ways that a processor can do, as `service.policy.lineup`; return how many.

    Where there is none, `lacking` says why what is kept may be tried all the same: 1 for tokens, 2 for authentications.
    """
    cdef int place, count = 0
    cdef bint all_secure = True
    cdef Way *way
    lacking[0] = 0
    for place in range(ways.allowed):
        way = &ways.every[ways.first + place]
        all_secure = all_secure and way.secure
        if (token or not way.token) and (secure or not way.secure):
            open_[count] = ways.first + place
            count += 1
    if count:
        return count
    if secure or not all_secure:
        for place in range(ways.allowed):
            open_[place] = ways.first + place
        lacking[0] = 1
        return ways.allowed
    for place in range(ways.asked):
        open_[place] = place
    lacking[0] = 2
    return ways.asked


cdef inline bint _before(Weighed *one, Weighed *other) noexcept:
    """Say whether a way comes before another one of the same candidate."""
    if one.kind != other.kind:
        return one.kind < other.kind
    if one.lead != other.lead:
        return one.lead < other.lead
    return one.kind == 1 and one.follow < other.follow


cdef inline bint _ahead(Candidate *one, Candidate *other, bint trials) noexcept:
    """Say whether a candidate comes before another one; those on trial, if that counts, behind the others."""
    cdef Weighed *mine = &one.ways[0]
    cdef Weighed *theirs = &other.ways[0]
    if trials and one.trial != other.trial:
        return other.trial
    if mine.kind != theirs.kind:
        return mine.kind < theirs.kind
    if mine.lead != theirs.lead:
        return mine.lead < theirs.lead
    if mine.kind == 1 and mine.follow != theirs.follow:
        return mine.follow < theirs.follow
    if one.slow != other.slow:
        return other.slow
    return one.index < other.index


cdef void _sort(Lineup *lineup, bint trials) noexcept:
    """Put those in the running in order, the best first."""
    cdef int place, back, mine
    for place in range(1, lineup.running):
        mine = lineup.runners[place]
        back = place
        while back > 0 and _ahead(&lineup.every[mine], &lineup.every[lineup.runners[back - 1]], trials):
            lineup.runners[back] = lineup.runners[back - 1]
            back -= 1
        lineup.runners[back] = mine


cdef int _least_bad(Lineup *lineup) except -1:
    """Take those with the least severe codes into the running."""
    cdef int place, kept = 0
    cdef list ranks = [severity(<object>lineup.every[lineup.outs[place]].codes) for place in range(lineup.out)]
    least = min([rank for rank in ranks if rank is not None], default=None)
    if least is None:
        return 0
    for place in range(lineup.out):
        if ranks[place] == least:
            lineup.runners[lineup.running] = lineup.outs[place]
            lineup.running += 1
        else:
            lineup.outs[kept] = lineup.outs[place]
            kept += 1
    lineup.out = kept
    return 0
