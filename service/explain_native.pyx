# cython: language_level=3, boundscheck=False, wraparound=False
"""What moved an estimate, in words, in C: `service.explain.words_of`.

``tests/service/decide/test_explain.py`` holds it to the reference.
"""

from cpython.mem cimport PyMem_Free
from libc.math cimport fabs

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) except NULL
    int Py_DTSF_SIGN


cdef str _number(double value, int flags):
    cdef char *text = PyOS_double_to_string(value, b"f", 4, flags, NULL)
    try:
        return (<bytes>text).decode("ascii")
    finally:
        PyMem_Free(text)


def words_of(double estimate, dict without, double least, Py_ssize_t most):
    """Return what moves an estimate most, in words; see `service.explain.words_of`."""
    cdef list moves = []
    cdef double move
    for group, p in without.items():
        move = estimate - <double>p
        if fabs(move) >= least:
            moves.append((-fabs(move), group, move))
    if not moves:
        return None
    moves.sort()
    cdef list said = []
    for each in moves[:most]:
        said.append(<str>each[1] + " " + _number(each[2], Py_DTSF_SIGN))
    return "estimate " + _number(estimate, 0) + ": " + ", ".join(said)
