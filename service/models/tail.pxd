"""What the trainer's graphs do last, in C: from the shares of both classes to one calibrated probability.

``trainer.fit.export`` writes it as Clip, Log, Gemm, Sigmoid and Reshape, or as Clip and Gather where nothing is calibrated.
Here it is done in doubles and rounded to float32 once, at the end.
"""

from libc.math cimport exp, log


cdef struct Tail:
    bint margins        # The shares are log-odds still.
    bint calibrated
    int positive        # Which of the two is the answer, where nothing is calibrated.
    float low, high
    double slopes[2]
    double offset


cdef inline double sigmoid(double odds) noexcept nogil:
    return 1.0 / (1.0 + exp(-odds)) if odds >= 0.0 else 1.0 - 1.0 / (1.0 + exp(odds))


cdef inline double kept(const Tail *tail, float share) noexcept nogil:
    """As Clip does: what is no number stays none."""
    if share < tail.low:
        share = tail.low
    return tail.high if share > tail.high else share


cdef inline float finished(const Tail *tail, float first, float second) noexcept nogil:
    if tail.margins:
        first, second = <float>sigmoid(first), <float>sigmoid(second)
    if not tail.calibrated:
        return <float>kept(tail, second if tail.positive else first)
    return <float>sigmoid(
        tail.slopes[0] * log(kept(tail, first)) + tail.slopes[1] * log(kept(tail, second)) + tail.offset
    )


cdef inline Tail tail_of(object given) except *:
    """Take over what `service.models.kernel.Tail` says."""
    cdef Tail tail
    tail.margins = given.margins
    tail.calibrated = given.slopes is not None
    tail.positive = given.positive
    tail.low, tail.high = given.low, given.high
    tail.slopes[0], tail.slopes[1] = given.slopes or (0.0, 0.0)
    tail.offset = given.offset
    return tail
