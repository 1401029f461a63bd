# Part of choice_native.pyx: with which odds candidates are drawn (`service.policy.exploration`). This part must not know what makes
# one better than another.

cdef bint odds_of(
    Lineup *lineup, Ways *ways, Parameters *parameters, double margin, bint compare, double *odds
) noexcept:
    """Say with which probability each candidate in the running is drawn, as `service.policy.lineup.odds_of`."""
    cdef int count = lineup.running
    cdef int on = 0
    cdef int up, place, kind
    cdef Candidate *one
    cdef Weighed *best
    cdef Weighed *mine
    cdef double[MOST_CANDIDATES] losses
    cdef double[MOST_CANDIDATES] doubts
    cdef double passing, bound
    odds[0] = 1.0
    for place in range(1, count):
        odds[place] = 0.0
    if count == 1 or lineup.forced:
        return True
    if not lineup.every[lineup.runners[0]].trial:
        for place in range(count - 1, -1, -1):
            if not lineup.every[lineup.runners[place]].trial:
                break
            on += 1
    up = count - on
    if compare and parameters.exploration > 0.0 and up > 1:
        best = &lineup.every[lineup.runners[0]].ways[0]
        kind = best.kind
        for place in range(up):
            one = &lineup.every[lineup.runners[place]]
            mine = &one.ways[0]
            passing = ways.every[mine.way].passing
            if mine.kind != kind:
                losses[place], doubts[place] = INFINITY, 0.0
            elif kind:
                losses[place] = ways.every[best.way].passing * best.p - passing * mine.p
                doubts[place] = passing * mine.p * (1.0 - mine.unbroken) * one.doubt
            else:
                losses[place] = best.value - mine.value
                doubts[place] = mine.gain * mine.p * (1.0 - mine.unbroken) * one.doubt
        bound = BOUND if kind else BOUND * margin
        if not _shares(losses, doubts, up, bound, parameters.floor, parameters.exploration, odds):
            return False
    if on:
        return _on_trial(odds, up, on, parameters.probe, parameters.exploration)
    return True


cdef bint _shares(
    double *losses, double *doubts, int count, double bound, double floor, double total, double *odds
) noexcept:
    """`service.policy.exploration.shares` of two candidates or more; False where a number is none."""
    cdef double own = doubts[0]
    cdef double least = total / (count - 1)
    cdef double[MOST_CANDIDATES] above
    cdef double spare = total
    cdef double wanted = 0.0
    cdef double rest = 1.0
    cdef double base, doubt, error, better, ratio, share
    cdef int place
    if not least < floor:
        least = floor
    above[0] = 0.0
    for place in range(1, count):
        above[place] = 0.0
        base = least if losses[place] <= bound else 0.0
        doubt = doubts[place]
        error = sqrt(doubt * doubt + own * own)
        better = 0.5 * erfc(losses[place] / (error * ROOT_2)) if error > 0.0 else 0.0
        odds[place] = base
        spare -= base
        if better > base:
            above[place] = better - base
    for place in range(count):
        wanted += above[place]
    if 0.0 > spare:
        spare = 0.0
    ratio = 1.0 if wanted <= spare else spare / wanted
    for place in range(1, count):
        share = (odds[place] + ratio * above[place]) * GRAIN
        if not isfinite(share):
            return False
        share = towards_zero(share) / GRAIN
        odds[place] = share
        rest -= share
    odds[0] = rest
    return True


cdef bint _on_trial(double *odds, int up, int count, double share, double total) noexcept:
    """`service.policy.exploration.on_trial`: `up` odds are there, those of `count` candidates on trial come behind them."""
    cdef double most = MOST_ON_TRIAL / count
    cdef double each = towards_zero((most if most < share else share) * GRAIN) / GRAIN
    cdef double drawn = 1.0 - odds[0]
    cdef double left = total - each * count
    cdef double others = 0.0
    cdef double one
    cdef int place
    if 0.0 > left:
        left = 0.0
    if drawn > left:
        for place in range(up):
            one = odds[place] * left / drawn * GRAIN
            if not isfinite(one):
                return False
            odds[place] = towards_zero(one) / GRAIN
    for place in range(up, up + count):
        odds[place] = each
    for place in range(1, up + count):
        others += odds[place]
    odds[0] = 1.0 - others
    return True


cdef int _pick(double draw, double *odds, int count) noexcept:
    """`service.policy.exploration.pick`."""
    cdef double reached = 0.0
    cdef int place
    for place in range(1, count):
        reached += odds[place]
        if draw < reached:
            return place
    return 0
