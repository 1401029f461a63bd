# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The regression on logs, their squares and absence flags (``trainer.fit.regression``), in C and in doubles, as its graph is.

``service.models.agreement`` and ``tests/service/models/test_linear.py`` hold it to ONNX Runtime.
"""

from libc.math cimport log
from libc.stdlib cimport free, malloc

cimport numpy as cnp

from service.models.tail cimport Tail, finished, sigmoid, tail_of

cnp.import_array()


cdef struct Term:
    Py_ssize_t column
    double ceiling
    double logs[2]      # Weights for the one class and the other.
    double squares[2]
    double flags[2]


cdef class Linear:
    """A graph of one regression; see `service.models.kernel`.

    Parameters
    ----------
    regression
        What it is made of, `service.models.kernel.Regression`.
    tail
        What is done with both shares, `service.models.kernel.Tail`.
    """

    cdef Term *_terms
    cdef Py_ssize_t _count, _width
    cdef double _floor, _added, _absent
    cdef double _bias[2]
    cdef Tail _tail

    def __cinit__(self, regression, tail):
        self._tail = tail_of(tail)
        self._count = len(regression.columns)
        self._width = 1 + max(regression.columns)
        self._floor, self._added, self._absent = regression.floor, regression.added, regression.absent
        self._bias[0], self._bias[1] = regression.bias
        self._terms = <Term *>malloc(self._count * sizeof(Term))
        if self._terms == NULL:
            raise MemoryError
        cdef Py_ssize_t place
        cdef Term *term
        for place in range(self._count):
            term = self._terms + place
            term.column = regression.columns[place]
            term.ceiling = regression.ceilings[place]
            term.logs[0], term.logs[1] = regression.logs[place]
            term.squares[0], term.squares[1] = regression.squares[place]
            term.flags[0], term.flags[1] = regression.flags[place]

    def __dealloc__(self):
        free(self._terms)

    def score(self, cnp.ndarray rows not None):
        """Return one probability per row of the catalog's vector, and None; see `Model.score`.

        Raises
        ------
        ArithmeticError
            When something is answered that is no probability.
        """
        if (cnp.PyArray_NDIM(rows) != 2 or cnp.PyArray_TYPE(rows) != cnp.NPY_FLOAT32 or rows.shape[1] < self._width
                or not cnp.PyArray_IS_C_CONTIGUOUS(rows)):
            raise ValueError("expected rows of the catalog's vector, float32")
        cdef const float *given = <const float *>cnp.PyArray_DATA(rows)
        cdef Py_ssize_t row, wide = rows.shape[1]
        cdef float p
        cdef list answers = []
        for row in range(rows.shape[0]):
            p = self._answer(given + row * wide)
            if not 0.0 <= p <= 1.0:
                raise ArithmeticError
            answers.append(<double>p)
        return answers, None

    cdef float _answer(self, const float *row) noexcept:
        cdef double first = 0.0, second = 0.0, x, there, logged
        cdef Py_ssize_t place
        cdef const Term *term
        for place in range(self._count):
            term = self._terms + place
            x = row[term.column]
            # Compared so that what is no number stays none.
            there = term.ceiling if x > term.ceiling else x
            there = (self._floor if there < self._floor else there) + self._added
            if there != 1.0:
                logged = log(there)
                first += logged * term.logs[0] + logged * logged * term.squares[0]
                second += logged * term.logs[1] + logged * logged * term.squares[1]
            if x < self._absent:
                first += term.flags[0]
                second += term.flags[1]
        return finished(&self._tail, <float>sigmoid(first + self._bias[0]), <float>sigmoid(second + self._bias[1]))
