# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `service.models.moves` does, in C: the same floats.

``tests/service/models/test_moves.py`` holds it to the reference.
"""

from libc.math cimport exp, fabs, log, log1p

cdef double _SMALLEST = 1e-6


cdef inline double _probability(double odds) noexcept:
    return 1.0 / (1.0 + exp(-odds)) if odds >= 0.0 else 1.0 - 1.0 / (1.0 + exp(odds))


cdef inline double _kept(double p) noexcept:
    if p < _SMALLEST:
        p = _SMALLEST
    return 1.0 - _SMALLEST if p > 1.0 - _SMALLEST else p


def without(const float[:, ::1] moves, Py_ssize_t row, int most, double base, bint log_odds, double slope, double high,
            double offset, bint calibrated, double shift):
    """Return the columns of the largest moves of a row, and the probability without each."""
    cdef Scale scale = Scale(base, log_odds, slope, high, offset, calibrated, shift)
    return largest(&moves[row, 0] if moves.shape[1] else NULL, moves.shape[1], most, &scale)


cdef list largest(const float *steps, Py_ssize_t count, int most, const Scale *scale):
    cdef Py_ssize_t place, best
    cdef double answer, total = 0.0, p
    cdef int found
    cdef list made = []
    cdef bint[64] taken
    for place in range(count):
        total += steps[place]
        taken[place] = False
    answer = scale.base + total
    for found in range(most if most < count else count):
        best = -1
        for place in range(count):
            if not taken[place] and (best < 0 or fabs(steps[place]) > fabs(steps[best])):
                best = place
        taken[best] = True
        p = answer - steps[best]
        if scale.log_odds:
            p = _probability(p)
        if not scale.calibrated:
            p = 0.0 if p < 0.0 else 1.0 if p > 1.0 else p
        else:
            p = _kept(p)
            p = _probability(scale.slope * log(p) - scale.high * log1p(-p) + scale.offset)
        if scale.shift != 0.0:
            p = _kept(p)
            p = _probability(log(p / (1.0 - p)) + scale.shift)
        made.append((best, p))
    return made
