# Part of choice_native.pyx: what holds for a question before anything is weighed (`service.policy.choice`, `.exemption`). This part
# must not know a processor.

cdef struct Parameters:
    double abandonment
    double stopped
    double gain
    double floor
    double exploration
    double probe
    int64_t chargeback


cdef struct Held:
    # What holds for a question before anything is weighed.
    int64_t amount
    double risk
    int tier
    int initiator
    bint auth
    bint present
    bint demanded
    bint secure
    Duty duty
    int band
    int64_t low_count
    int64_t low_total
    double margin


cdef struct Ledger:
    const char *entries
    int count


cdef bint hold(
    request, risk, kind, Corridor corridor, Deal deal, Ledger *entries, Parameters *parameters, Held *held
) except -1:
    """Say what holds before anything is weighed; False where risk is no probability or the amount none that C holds."""
    held.risk = _double(<PyObject *>risk)
    if not 0.0 <= held.risk <= 1.0:
        return False
    held.amount = <object>_field(request, AMOUNT)
    if not 0 <= held.amount < EXACT - parameters.chargeback:
        return False
    held.auth = kind == "auth"
    held.tier = 2 if held.risk >= deal.tier_high else 1 if held.risk >= deal.tier_medium else 0
    held.secure = _true(_field(request, USES_3DS))
    held.initiator = 1 if _same(_field(request, INITIATOR), _MERCHANT) else 0
    held.present = held.auth and not held.secure and held.initiator == 0
    held.demanded = (
        held.present
        and deal.challenge_from <= held.risk
        and held.risk < (deal.decline_from if deal.decline_from < deal.review_from else deal.review_from)
    )
    held.margin = held.amount * deal.margin_share
    held.duty = Duty.NO_DUTY
    if not held.secure:
        if corridor.scope[held.initiator] == Scope.BOUND:
            # A merchant's own is here where no ruling frees it, and no exemption is looked for.
            if held.initiator == 0:
                _exempt(request, corridor, deal, entries, held)
        elif corridor.scope[held.initiator] == Scope.ONE_LEG:
            held.duty = Duty.ONE_LEG_OUT
        elif corridor.scope[held.initiator] == Scope.ABSENT:
            held.duty = Duty.MERCHANT_INITIATED
    return True


cdef int _exempt(request, Corridor corridor, Deal deal, Ledger *entries, Held *held) except -1:
    """Say what exempts a customer's payment that is in scope (`service.policy.exemption`)."""
    cdef int place
    cdef bint used_up = False
    if corridor.has_low and held.amount < corridor.below:
        used_up = _counted(request, corridor, entries, held)
        if not used_up:
            held.duty = Duty.LOW_VALUE
            return 0
    if deal.claims and held.tier == 0:
        for place in range(corridor.bands):
            if held.amount <= corridor.up_to[place] and deal.fraud <= corridor.rates[place]:
                held.duty = Duty.RISK_ANALYSIS
                held.band = place
                return 0
    held.duty = Duty.USED_UP if used_up else Duty.REQUIRED
    return 0
