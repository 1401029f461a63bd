"""What `service.policy.facts_native` shows of itself to other kernels."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t


cdef enum:
    MOST_CANDIDATES = 16
    MOST_BANDS = 8


cdef class Deal:
    cdef double margin_share, tier_medium, tier_high, challenge_from, review_from, decline_from, minimum_approval
    cdef double fraud
    cdef bint claims
    cdef dict volumes
    cdef str tiers


cdef enum Scope:
    FREE
    ONE_LEG
    ABSENT
    BOUND


cdef class Corridor:
    cdef Py_ssize_t number
    cdef str network
    cdef int tariff
    # By initiator, the customer and the merchant: limits, the same as a ledger counts them (None: by amount), the least.
    cdef tuple binding, reserved
    cdef Py_ssize_t[2] least
    cdef Scope[2] scope
    cdef object one_leg, absent, required
    cdef bint has_low, has_counter
    cdef int64_t below, payments, cumulated
    cdef str source, counter
    cdef int bands
    cdef int64_t[MOST_BANDS] up_to
    cdef double[MOST_BANDS] rates
    cdef list band_ids


cdef class Fares:
    cdef double[MOST_CANDIDATES] fixed, share, failed


cdef class Panel:
    cdef int count
    cdef bint sound
    cdef tuple processors
    cdef bint[MOST_CANDIDATES] repeated, known, token, secure, limited
    cdef double[MOST_CANDIDATES] three_ds
    cdef list outages
    cdef bint any_limited, all_secure
    cdef dict fares, objections


cdef class Facts:
    cdef object rules, fees, ables, own_low
    cdef dict deals, panels, books, corridors, tariff_places
    cdef list tariffs
    cdef Deal general
    cdef int64_t day
    cdef object book
    cdef Py_ssize_t numbered
    cdef Deal deal(self, object merchant_id)
    cdef Panel panel(self, object processors)
    cdef Fares fares(self, Panel panel, int tariff)
    cdef tuple objections(self, Panel panel, Corridor corridor, object request)
    cdef Corridor corridor(self, object request, int64_t at)
