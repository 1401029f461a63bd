"""What `moves_native` shows of itself to other kernels."""

cdef struct Scale:
    double base
    bint log_odds
    double slope, high, offset
    bint calibrated
    double shift


cdef list largest(const float *steps, Py_ssize_t count, int most, const Scale *scale)
