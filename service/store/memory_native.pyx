# cython: language_level=3, boundscheck=False, wraparound=False
"""Increments added to the states of the embedded store, in C: `service.store.memory.added` and `put_all`.

``tests/service/store/test_native.py`` holds it to the reference.
"""

from features.layout import LAYOUTS
from features.state import add

cdef dict _LAYOUTS = dict(LAYOUTS)
cdef dict _TTL = {kind: float(layout.ttl_seconds) for kind, layout in LAYOUTS.items()}
cdef dict _TAKES = {}


cdef dict _taking(tuple deltas):
    """Return by kind of entity whether it takes an event whose deltas are not zero where these are."""
    cdef tuple shape = tuple([delta != 0 for delta in deltas])
    found = _TAKES.get(shape)
    if found is None:
        if len(_TAKES) > 512:
            _TAKES.clear()
        found = _TAKES[shape] = {kind: layout.takes(deltas) for kind, layout in _LAYOUTS.items()}
    return <dict>found


def added(dict states, updates):
    """Return the states after some increments; see `service.store.memory.added`."""
    cdef dict made = {}
    cdef dict takes = None
    cdef tuple update
    last = None
    for each in updates:
        update = <tuple>each
        kind, key, increment, member = update
        if increment is not last:
            takes = _taking(<tuple>increment[1])
            last = increment
        if not takes[kind]:
            continue
        place = (kind, key)
        blob = made.get(place)
        if blob is None:
            blob = states[kind].get(key)
        made[place] = add(_LAYOUTS[kind], blob, increment, member)
    return [(kind, key, blob) for (kind, key), blob in made.items()]


def put_all(dict states, blobs):
    """Put states over whatever is there; see `service.store.memory.put_all`."""
    for kind, key, blob in blobs:
        states[kind].put(key, blob, _TTL[kind])
