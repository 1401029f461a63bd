"""Structs of msgspec as C sees them: fields by their offsets, new ones without a call.

A field of a Struct is a slot like any of ``__slots__``; where it lies is in its member descriptor, which is public in
CPython. Reading one by offset spares the attribute lookup, and filling a new one spares the keyword parsing: both cost more than
the arithmetic between them. Whoever uses this checks once, at import, that a Struct built so equals one that was called
and does without the kernel where it does not.

This file must not know a payment.
"""

from cpython.object cimport PyObject

cdef extern from *:
    """
    #include <structmember.h>
    #include <string.h>

    #define pm_at(o, offset) (*(PyObject **)((char *)(o) + (offset)))

    /* Set a field of a blank: a reference that it keeps (`pm_put`), or one that it takes over (`pm_give`, not NULL). */
    static inline void pm_put(PyObject *o, Py_ssize_t offset, PyObject *value) { Py_INCREF(value); pm_at(o, offset) = value; }
    static inline void pm_give(PyObject *o, Py_ssize_t offset, PyObject *value) { pm_at(o, offset) = value; }

    /* Where a slot lies in its instances; -1 for what is no slot of an object. */
    static CYTHON_UNUSED Py_ssize_t pm_offset(PyObject *type, const char *name) {
        PyObject *descr = PyObject_GetAttrString(type, name);
        Py_ssize_t offset = -1;
        if (descr == NULL) { PyErr_Clear(); return -1; }
        if (Py_TYPE(descr) == &PyMemberDescr_Type) {
            PyMemberDef *member = ((PyMemberDescrObject *)descr)->d_member;
            if (member->type == T_OBJECT_EX) offset = member->offset;
        }
        Py_DECREF(descr);
        return offset;
    }

    /* A new instance with no field set. The garbage collector is not told of it: it is for Structs of which no cycle can be
       made, frozen ones of values that are older than they are. */
    static CYTHON_UNUSED PyObject *pm_blank(PyObject *type) {
        PyTypeObject *tp = (PyTypeObject *)type;
        PyObject *self = PyType_IS_GC(tp) ? PyObject_GC_New(PyObject, tp) : PyObject_New(PyObject, tp);
        if (self != NULL)
            memset((char *)self + sizeof(PyObject), 0, tp->tp_basicsize - sizeof(PyObject));
        return self;
    }
    """
    PyObject *pm_at(PyObject *struct, Py_ssize_t offset)
    Py_ssize_t pm_offset(PyObject *type, const char *name)
    object pm_blank(PyObject *type)
    void pm_put(PyObject *struct, Py_ssize_t offset, PyObject *value)
    void pm_give(PyObject *struct, Py_ssize_t offset, PyObject *value)


cdef inline Py_ssize_t place_of(object struct, str name) except -1:
    """Return the offset of a field; ImportError where it is no plain slot."""
    cdef bytes encoded = name.encode()
    cdef Py_ssize_t offset = pm_offset(<PyObject *>struct, encoded)
    if offset <= 0:
        raise ImportError(f"{struct.__name__}.{name} is no slot")
    return offset
