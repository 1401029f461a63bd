"""What `service.policy.words_native` shows of itself to other kernels."""

from cpython.object cimport PyObject


cdef enum:
    MOST_PARTS = 8


cdef union Filling:
    double number
    long long whole
    PyObject *text


cdef class Phrase:
    cdef readonly str code
    cdef str template
    cdef int count
    cdef list between
    cdef char[MOST_PARTS] kinds
    cdef int[MOST_PARTS] precisions
    cdef object reason(self, Filling *fillings)
    cdef object _long(self, Filling *fillings)
    cdef object _made(self, str detail)
