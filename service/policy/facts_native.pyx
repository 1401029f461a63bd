# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""What holds for a question before its numbers are known, looked up once and kept as C sees it.

Nothing here changes while a bundle and a day of rules last: terms by merchant, limits and duties by network, countries and
currency, fees and abilities by candidates. What comes in over a wire names networks and countries, so every table is bounded: a full
one begins anew. This module must not know a probability.
"""

from datetime import timedelta

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from contracts.decision import Reason
from contracts.payment import Payment
from features.clock import EPOCH, micros
from service.policy import words

from service.policy.structs cimport place_of, pm_at

cdef enum:
    MOST_KEPT = 4096

cdef int64_t DAY_US = 86_400_000_000

cdef Py_ssize_t NETWORK = place_of(Payment, "card_network")
cdef Py_ssize_t ISSUER = place_of(Payment, "issuer_country")
cdef Py_ssize_t MERCHANT_COUNTRY = place_of(Payment, "merchant_country")
cdef Py_ssize_t CURRENCY = place_of(Payment, "currency")


def _reason(tuple words, *values):
    code, text = words
    return Reason(code=code, detail=text % values)


cdef class Deal:
    """Terms of a merchant (`service.policy.terms.Terms`)."""

    def __init__(self, terms):
        self.margin_share = terms.margin_share
        self.tier_medium = terms.tier_medium
        self.tier_high = terms.tier_high
        self.challenge_from = terms.challenge_from
        self.review_from = terms.review_from
        self.decline_from = terms.decline_from
        self.minimum_approval = terms.minimum_approval
        self.claims = terms.fraud_basis_points is not None
        self.fraud = terms.fraud_basis_points if self.claims else 0.0
        self.volumes = terms.volumes
        self.tiers = terms.tiers


cdef class Corridor:
    """Network, countries and currency of payments: their fees, limits, and duty to authenticate."""

    def __init__(self, Facts facts, book, str card_network, str issuer, merchant_country, str currency):
        cdef int place
        self.number = facts.numbered
        self.network = book.network(card_network)
        self.tariff = facts.place_of_tariff(facts.fees.tariff(self.network, issuer, merchant_country))
        self.binding = tuple([book.binding(self.network, issuer, initiator) for initiator in ("customer", "merchant")])
        self.reserved = tuple(
            [
                None if any(limit.same_amount for limit in limits) else tuple([limit.counted for limit in limits])
                for limits in self.binding
            ]
        )
        for place in range(2):
            self.least[place] = min([limit.limit for limit in self.binding[place]], default=0)
        self._duty(book.sca, issuer, merchant_country)
        self._low_value(facts.own_low, book.sca, issuer, currency)
        bands = [band for band in book.sca.bands(currency) if issuer in band.countries]
        if len(bands) > MOST_BANDS:
            raise OverflowError(f"expected at most {MOST_BANDS} bands, got {len(bands)}")
        self.bands = len(bands)
        self.band_ids = [band.bound.id for band in bands]
        for place in range(self.bands):
            self.up_to[place] = bands[place].up_to_minor
            self.rates[place] = bands[place].fraud_rate_basis_points

    def _duty(self, sca, str issuer, merchant_country):
        """Settle how far the law reaches, as `service.policy.exemption.Exemptions.of`."""
        self.scope[0] = self.scope[1] = Scope.FREE
        if sca.required is None:
            return
        issuing = issuer in sca.required.countries
        acquiring = merchant_country is None or merchant_country in sca.required.countries
        if not issuing and (not acquiring or merchant_country is None):
            return
        if issuing != acquiring and sca.one_leg_out is not None:
            self.scope[0] = self.scope[1] = Scope.ONE_LEG
            self.one_leg = _reason(words.ONE_LEG_OUT, issuer, merchant_country, sca.one_leg_out.bound.id)
            return
        self.scope[0] = Scope.BOUND
        acquirer = merchant_country or "a country not named"
        self.required = _reason(words.REQUIRED, issuer, acquirer, sca.required.bound.id)
        if sca.merchant_initiated is not None:
            self.scope[1] = Scope.ABSENT
            self.absent = _reason(words.MERCHANT_INITIATED, sca.merchant_initiated.bound.id)

    def _low_value(self, own_low, sca, str issuer, str currency):
        """Settle the low value threshold and its counters, as `Exemptions` does."""
        rule, own, counter = sca.low_value(currency), own_low.get(currency), sca.counter(currency)
        self.has_low = False
        if rule is not None:
            if issuer in rule.countries:
                self.has_low = True
                self.below = rule.below_minor if own is None or own > rule.below_minor else own
                self.source = rule.bound.id
        elif own is not None:
            self.has_low = True
            self.below, self.source = own, "policy parameters"
        self.has_counter = counter is not None
        if counter is not None:
            self.payments, self.cumulated, self.counter = counter.payments, counter.cumulated_minor, counter.bound.id
        if self.has_low and not -(1 << 40) < self.below < (1 << 40):
            raise OverflowError(f"expected a threshold below 2^40, got {self.below}")


cdef class Fares:
    """What an attempt costs at each candidate of a panel, under one tariff."""


cdef class Panel:
    """Candidates in the merchant's order, and what is known of each whatever is asked.

    Attributes
    ----------
    sound
        Whether it is one that C can weigh: at most `MOST_CANDIDATES` names.
    known
        Which have fees of their own.
    """

    def __init__(self, Facts facts, tuple processors):
        cdef int place
        self.processors = processors
        self.count = len(processors)
        self.sound = 0 < self.count <= MOST_CANDIDATES
        self.any_limited = False
        self.all_secure = True
        self.outages = []
        self.fares, self.objections = {}, {}
        if not self.sound:
            return
        seen = set()
        for place in range(self.count):
            name = processors[place]
            self.repeated[place] = name in seen
            seen.add(name)
            self.known[place] = facts.fees.knows(name)
            self.three_ds[place] = facts.fees.three_ds(name)
            able = facts.ables.get(name)
            self.limited[place] = able is not None
            self.token[place] = able is None or able.token
            self.secure[place] = able is None or able.three_ds
            self.any_limited = self.any_limited or able is not None
            self.all_secure = self.all_secure and self.secure[place]
            spans = () if able is None else able.outages
            self.outages.append(tuple([(micros(begins), micros(ends)) for begins, ends in spans]))


cdef class Facts:
    """Everything that one bundle, its rules and its merchants settle beforehand.

    Parameters
    ----------
    rules, fees, agreements, ables
        As `service.policy.policy.Policy.compile` makes them.
    own_low
        The bundle's own low value thresholds.
    """

    def __init__(self, rules, fees, agreements, ables, own_low):
        self.rules, self.fees, self.ables, self.own_low = rules, fees, ables, dict(own_low)
        self.deals = {name: Deal(terms) for name, terms in agreements.by_merchant.items()}
        self.general = Deal(agreements.general)
        self.panels, self.books, self.tariff_places, self.tariffs = {}, {}, {}, []
        self.day, self.book, self.corridors, self.numbered = -1, None, {}, 0

    def place_of_tariff(self, tariff):
        """Return the number of a tariff: there are as many as networks and regions with fees of their own."""
        key = id(tariff)
        if key not in self.tariff_places:
            self.tariff_places[key] = len(self.tariffs)
            self.tariffs.append(tariff)
        return self.tariff_places[key]

    cdef Deal deal(self, object merchant_id):
        """Return the terms of a merchant."""
        found = self.deals.get(merchant_id)
        return self.general if found is None else <Deal>found

    cdef Panel panel(self, object processors):
        """Return what is known of candidates."""
        found = self.panels.get(processors)
        if found is None:
            if len(self.panels) >= MOST_KEPT:
                self.panels.clear()
            found = self.panels[processors] = Panel(self, processors)
        return <Panel>found

    cdef Fares fares(self, Panel panel, int tariff):
        """Return what attempts cost at the candidates of a panel."""
        cdef Fares fares
        cdef int place
        found = panel.fares.get(tariff)
        if found is not None:
            return <Fares>found
        fares = Fares()
        for place in range(panel.count):
            fixed, share, failed = self.tariffs[tariff].of(panel.processors[place])
            fares.fixed[place], fares.share[place], fares.failed[place] = fixed, share, failed
        panel.fares[tariff] = fares
        return fares

    cdef tuple objections(self, Panel panel, Corridor corridor, object request):
        """Return the codes that speak against each candidate, whatever the moment: scheduled outages are not among them."""
        found = panel.objections.get(corridor.number)
        if found is None:
            if len(panel.objections) >= MOST_KEPT:
                panel.objections.clear()
            countries = (request.issuer_country, request.merchant_country)
            found = panel.objections[corridor.number] = tuple(
                [
                    () if name not in self.ables
                    else self.ables[name].unable(corridor.network, request.currency, *countries)
                    for name in panel.processors
                ]
            )
        return <tuple>found

    cdef Corridor corridor(self, object request, int64_t at):
        """Return what holds for the network, countries and currency of a payment under the rules of a moment's UTC day."""
        cdef PyObject *asked = <PyObject *>request
        cdef int64_t day = at // DAY_US
        if day != self.day:
            self._open(day)
        key = (
            <object>pm_at(asked, NETWORK),
            <object>pm_at(asked, ISSUER),
            <object>pm_at(asked, MERCHANT_COUNTRY),
            <object>pm_at(asked, CURRENCY),
        )
        found = self.corridors.get(key)
        if found is None:
            if len(self.corridors) >= MOST_KEPT:
                self.corridors.clear()
            self.numbered += 1
            found = self.corridors[key] = Corridor(self, self.book, *key)
        return <Corridor>found

    def _open(self, int64_t day):
        """Take the rule book of a day."""
        self.book = self.rules.at((EPOCH + timedelta(days=day)).date())
        self.corridors = self.books.setdefault(self.book, {})
        self.day = day
