# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads of the embedded store in C: `service.store.memory.fetched`.

``tests/service/store/test_native.py`` holds it to the reference.
"""

from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject


def fetched(tables, keys, double now):
    """Return what each table keeps under the key in the same place and has not ended by `now`; None for none."""
    cdef list made = []
    cdef Py_ssize_t place, count = min(len(tables), len(keys))
    cdef PyObject *found
    cdef tuple entry
    for place in range(count):
        key = keys[place]
        if key is None:
            made.append(None)
            continue
        found = PyDict_GetItem(<dict>tables[place], key)
        if found == NULL:
            made.append(None)
            continue
        entry = <tuple><object>found
        made.append(entry[1] if <double>entry[0] > now else None)
    return tuple(made)
