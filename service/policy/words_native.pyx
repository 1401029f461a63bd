# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O2 -ffp-contract=off
"""Reasons put into words in C: a %-format of `service.policy.words` taken apart once, filled without a call.

Numbers are written by what Python's own formatting calls. This module must not know when a reason is given.
"""

import re

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen

from contracts.decision import Reason

from service.policy.structs cimport place_of, pm_blank, pm_put

cdef extern from "Python.h":
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) except NULL
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyUnicode_FromStringAndSize(const char *data, Py_ssize_t size)

cdef enum:
    LONGEST = 1000

cdef Py_ssize_t CODE = place_of(Reason, "code")
cdef Py_ssize_t DETAIL = place_of(Reason, "detail")
cdef object _PART = re.compile(r"%(?:\.(\d))?([sdgf])")


cdef class Phrase:
    """One reason: its code, and what it says.

    Parameters
    ----------
    words : tuple of str
        Code and %-format: ``%s``, ``%d``, ``%g``, ``%.4g``, ``%.1f`` and their like.
    """

    def __init__(self, words):
        cdef int place = 0
        self.code, self.template = words
        self.between = []
        end = 0
        for part in _PART.finditer(self.template):
            self.between.append(self.template[end : part.start()].encode())
            self.kinds[place] = ord(part[2])
            self.precisions[place] = 6 if part[1] is None else int(part[1])
            end = part.end()
            place += 1
            if place > MOST_PARTS:
                raise ImportError(f"{self.template!r} has more than {MOST_PARTS} parts")
        self.between.append(self.template[end:].encode())
        self.count = place
        if "%" in _PART.sub("", self.template):
            raise ImportError(f"{self.template!r} has a part that is not known")

    cdef object reason(self, Filling *fillings):
        """Return the reason with its parts filled in, one filling for each."""
        cdef char[LONGEST + 64] text
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t more
        cdef const char *piece
        cdef char *number
        cdef int place
        cdef bytes between
        for place in range(self.count + 1):
            between = <bytes>self.between[place]
            more = PyBytes_GET_SIZE(between)
            if size + more > LONGEST:
                return self._long(fillings)
            memcpy(text + size, PyBytes_AS_STRING(between), more)
            size += more
            if place == self.count:
                break
            if self.kinds[place] == b"s":
                piece = PyUnicode_AsUTF8AndSize(<object>fillings[place].text, &more)
                if size + more > LONGEST:
                    return self._long(fillings)
                memcpy(text + size, piece, more)
                size += more
            elif self.kinds[place] == b"d":
                size += snprintf(text + size, 32, "%lld", fillings[place].whole)
            else:
                number = PyOS_double_to_string(fillings[place].number, self.kinds[place], self.precisions[place], 0, NULL)
                more = strlen(number)
                if size + more > LONGEST:
                    PyMem_Free(number)
                    return self._long(fillings)
                memcpy(text + size, number, more)
                PyMem_Free(number)
                size += more
        return self._made(PyUnicode_FromStringAndSize(text, size))

    cdef object _long(self, Filling *fillings):
        """Return a reason too long for the buffer."""
        cdef int place
        cdef list values = []
        for place in range(self.count):
            if self.kinds[place] == b"s":
                values.append(<object>fillings[place].text)
            elif self.kinds[place] == b"d":
                values.append(fillings[place].whole)
            else:
                values.append(fillings[place].number)
        return self._made(self.template % tuple(values))

    cdef object _made(self, str detail):
        cdef object made = pm_blank(<PyObject *>Reason)
        pm_put(<PyObject *>made, CODE, <PyObject *>self.code)
        pm_put(<PyObject *>made, DETAIL, <PyObject *>detail)
        return made

    def fill(self, *values):
        """Return the reason with these values: strings, whole numbers below 2^63, floats."""
        cdef Filling[MOST_PARTS] fillings
        cdef int place
        if len(values) != self.count:
            raise ValueError(f"expected {self.count} values, got {len(values)}")
        for place in range(self.count):
            if self.kinds[place] == b"s":
                if not isinstance(values[place], str):
                    raise TypeError(f"expected a str, got {values[place]!r}")
                fillings[place].text = <PyObject *>values[place]
            elif self.kinds[place] == b"d":
                fillings[place].whole = values[place]
            else:
                fillings[place].number = values[place]
        return self.reason(fillings)
