# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""An ensemble of trees with what its graph does after it, in C: `service.models.packed` says how it lies in memory.

Answers are added up in float32 and in the order of the trees, as ONNX Runtime adds them: the same bits. Which leaf each row came to is
kept, so that what moved it is added up for the one row that somebody asks about.
``service.models.agreement`` and ``tests/service/models/test_forest.py`` hold it to ONNX Runtime.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp

from service.models.moves_native cimport Scale, largest
from service.models.tail cimport Tail, finished, tail_of

cnp.import_array()

cdef enum:
    LANES = 8           # Trees walked at once: one waits for memory while others go on.
    MOST_GROUPS = 64
    MOST_ROWS = 1 << 20
    LINE = 64
    LEAF_BITS = 0x003FFFFF
    TRACKS = 0x8000     # In `feature`: what is missing goes where the condition holds.


cdef struct Node:
    float threshold     # Of a leaf NaN, whose payload is the leaf's number: nothing is below it.
    uint16_t feature
    uint16_t skip       # How far on the child is that does not meet the condition; the other one is next to it. Of a leaf 0.


cdef inline const Node *_next(const Node *node, const float *row) noexcept nogil:
    return node + (node.skip + <int>(row[node.feature] <= node.threshold))


cdef inline const Node *_next_missing(const Node *node, const float *row) noexcept nogil:
    cdef float x = row[node.feature & ~TRACKS]
    cdef bint holds = x <= node.threshold or (x != x and (node.feature & TRACKS) != 0 and node.skip != 0)
    return node + (node.skip + <int>holds)


cdef inline int32_t _leaf(const Node *node) noexcept nogil:
    cdef uint32_t bits
    memcpy(&bits, &node.threshold, 4)
    return <int32_t>(bits & LEAF_BITS)


cdef void _walk(const Node **roots, int levels, const float *row, int32_t *leaves) noexcept nogil:
    """Walk one row through LANES trees. A leaf leads to itself, so no step asks whether it was the last."""
    cdef const Node *a = roots[0]
    cdef const Node *b = roots[1]
    cdef const Node *c = roots[2]
    cdef const Node *d = roots[3]
    cdef const Node *e = roots[4]
    cdef const Node *f = roots[5]
    cdef const Node *g = roots[6]
    cdef const Node *h = roots[7]
    cdef int level
    for level in range(levels):
        a = _next(a, row)
        b = _next(b, row)
        c = _next(c, row)
        d = _next(d, row)
        e = _next(e, row)
        f = _next(f, row)
        g = _next(g, row)
        h = _next(h, row)
    leaves[0], leaves[1], leaves[2], leaves[3] = _leaf(a), _leaf(b), _leaf(c), _leaf(d)
    leaves[4], leaves[5], leaves[6], leaves[7] = _leaf(e), _leaf(f), _leaf(g), _leaf(h)


cdef void _walk_missing(const Node **roots, int levels, const float *row, int32_t *leaves) noexcept nogil:
    """As `_walk`, where nodes say what becomes of a missing value."""
    cdef const Node *node
    cdef int lane, level
    for lane in range(LANES):
        node = roots[lane]
        for level in range(levels):
            node = _next_missing(node, row)
        leaves[lane] = _leaf(node)


cdef class Forest:
    """A graph of trees; see `service.models.kernel`.

    Parameters
    ----------
    packed
        The trees, `service.models.packed.Packed`; they are copied.
    tail
        What is done with both shares, `service.models.kernel.Tail`.
    tells
        Whether what moved an answer is told.
    """

    cdef void *_memory
    cdef Node *_nodes
    cdef const Node **_roots
    cdef int32_t *_levels
    cdef float *_values
    cdef int32_t *_starts
    cdef uint8_t *_groups
    cdef float *_steps
    cdef float _bases[2]
    cdef Py_ssize_t _blocks, _trees, _count, _width
    cdef bint _tells, _tracks
    cdef Tail _tail

    def __cinit__(self, packed, tail, bint tells):
        self._tail = tail_of(tail)
        self._tells = tells
        self._tracks = packed.tracks
        self._count = packed.told
        self._width = packed.width
        self._trees = len(packed.roots)
        self._blocks = (self._trees + LANES - 1) // LANES
        if self._count > MOST_GROUPS or self._count < 0:
            raise ValueError("more groups than are known")
        nodes, values, starts = packed.nodes.tobytes(), packed.values.tobytes(), packed.starts.tobytes()
        groups, steps = packed.groups.tobytes(), packed.steps.tobytes()
        cdef Py_ssize_t of_nodes = _whole(len(nodes)), of_roots = _whole(self._blocks * LANES * sizeof(Node *))
        cdef Py_ssize_t of_values = _whole(len(values)), of_starts = _whole(len(starts))
        cdef Py_ssize_t of_levels = _whole(self._blocks * sizeof(int32_t)), of_steps = _whole(len(steps))
        self._memory = malloc(of_nodes + of_roots + of_values + of_starts + of_levels + of_steps + _whole(len(groups)) + LINE)
        if self._memory == NULL:
            raise MemoryError
        cdef char *at = <char *>((<uintptr_t>self._memory + LINE - 1) & ~<uintptr_t>(LINE - 1))
        self._nodes = <Node *>at
        memcpy(at, <const char *>nodes, len(nodes))
        at += of_nodes
        self._roots = <const Node **>at
        at += of_roots
        self._levels = <int32_t *>at
        at += of_levels
        self._values = <float *>at
        memcpy(at, <const char *>values, len(values))
        at += of_values
        self._starts = <int32_t *>at
        memcpy(at, <const char *>starts, len(starts))
        at += of_starts
        self._steps = <float *>at
        memcpy(at, <const char *>steps, len(steps))
        at += of_steps
        self._groups = <uint8_t *>at
        memcpy(at, <const char *>groups, len(groups))
        cdef Py_ssize_t place
        cdef int depth
        memset(self._levels, 0, self._blocks * sizeof(int32_t))
        for place in range(self._blocks * LANES):
            # Node 0 is a leaf that no tree has: the last block is filled up with it.
            self._roots[place] = self._nodes + (<Py_ssize_t>packed.roots[place] if place < self._trees else 0)
            depth = packed.depths[place] if place < self._trees else 0
            if depth > self._levels[place // LANES]:
                self._levels[place // LANES] = depth
        self._bases[0], self._bases[1] = packed.bases

    def __dealloc__(self):
        free(self._memory)

    def score(self, cnp.ndarray rows not None):
        """Return one probability per row of the catalog's vector, and what the moves of each are made of; see `Model.score`.

        Raises
        ------
        ArithmeticError
            When something is answered that is no probability.
        """
        if (cnp.PyArray_NDIM(rows) != 2 or cnp.PyArray_TYPE(rows) != cnp.NPY_FLOAT32 or rows.shape[1] < self._width
                or not cnp.PyArray_IS_C_CONTIGUOUS(rows) or rows.shape[0] > MOST_ROWS):
            raise ValueError("expected rows of the catalog's vector, float32")
        cdef Py_ssize_t count = rows.shape[0], wide = rows.shape[1], trees = self._blocks * LANES, row, block
        cdef Walk walk = Walk.__new__(Walk)
        walk._forest, walk._rows = self, count
        walk._leaves = <int32_t *>malloc((count * trees + 1) * sizeof(int32_t))
        cdef float *sums = <float *>malloc((2 * count + 1) * sizeof(float))
        if walk._leaves == NULL or sums == NULL:
            free(sums)
            raise MemoryError
        cdef const float *given = <const float *>cnp.PyArray_DATA(rows)
        cdef const Node **roots
        cdef int32_t *leaves
        cdef const float *value
        cdef float first, second, p
        cdef int lane, lanes
        memset(sums, 0, 2 * count * sizeof(float))
        # Trees first, then rows: those of one payment mostly go the same way, through nodes that are at hand.
        for block in range(self._blocks):
            roots = self._roots + block * LANES
            lanes = LANES if (block + 1) * LANES <= self._trees else <int>(self._trees - block * LANES)
            for row in range(count):
                leaves = walk._leaves + row * trees + block * LANES
                if self._tracks:
                    _walk_missing(roots, self._levels[block], given + row * wide, leaves)
                else:
                    _walk(roots, self._levels[block], given + row * wide, leaves)
                first, second = sums[2 * row], sums[2 * row + 1]
                for lane in range(lanes):
                    value = self._values + 2 * leaves[lane]
                    first += value[0]
                    second += value[1]
                sums[2 * row], sums[2 * row + 1] = first, second
        cdef list answers = []
        try:
            for row in range(count):
                p = finished(&self._tail, sums[2 * row] + self._bases[0], sums[2 * row + 1] + self._bases[1])
                if not 0.0 <= p <= 1.0:
                    raise ArithmeticError
                answers.append(<double>p)
        finally:
            free(sums)
        return answers, walk if self._tells else None


cdef class Walk:
    """Which leaves rows came to (`service.models.moves.Moves`)."""

    cdef Forest _forest
    cdef int32_t *_leaves
    cdef Py_ssize_t _rows

    def __dealloc__(self):
        free(self._leaves)

    cdef int _sum(self, Py_ssize_t row, float *steps) except -1:
        cdef Forest forest = self._forest
        cdef const int32_t *leaves
        cdef Py_ssize_t tree, place
        if not 0 <= row < self._rows:
            raise IndexError(row)
        leaves = self._leaves + row * forest._blocks * LANES
        memset(steps, 0, forest._count * sizeof(float))
        for tree in range(forest._trees):
            for place in range(forest._starts[leaves[tree]], forest._starts[leaves[tree] + 1]):
                steps[forest._groups[place]] += forest._steps[place]
        return 0

    def row(self, Py_ssize_t row):
        """Return how far each group moved the answer to a row, float32."""
        cdef float[MOST_GROUPS] steps
        cdef cnp.npy_intp shape = self._forest._count
        self._sum(row, steps)
        made = cnp.PyArray_SimpleNew(1, &shape, cnp.NPY_FLOAT32)
        memcpy(cnp.PyArray_DATA(made), steps, shape * sizeof(float))
        return made

    def without(self, Py_ssize_t row, int most, double base, bint log_odds, double slope, double high, double offset,
                bint calibrated, double shift):
        """Return the largest moves of a row as `service.models.moves.without` does."""
        cdef float[MOST_GROUPS] steps
        cdef Scale scale = Scale(base, log_odds, slope, high, offset, calibrated, shift)
        self._sum(row, steps)
        return largest(steps, self._forest._count, most, &scale)


cdef inline Py_ssize_t _whole(Py_ssize_t size) noexcept:
    """Return the bytes of the whole lines that hold so many."""
    return (size + LINE - 1) // LINE * LINE
