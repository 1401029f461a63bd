"""The native kernels: every ``*_native.pyx``, each beside the Python that it stands in for.

They are optional. Without a compiler, or without Cython, everything runs on the Python; `service` says at start which it is.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

ROOMS = ("features", "service")
FLAGS = ["-O2", "-g0", "-ffp-contract=off"]


def kernels() -> list[Extension]:
    """Return the extensions, or none where they cannot be built."""
    try:
        import numpy as np
        from Cython.Build import cythonize
    except ImportError:
        return []
    if sys.byteorder != "little":
        # They read packed states where they lie.
        return []
    found = [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            include_dirs=[np.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=FLAGS if sys.platform != "win32" else [],
            optional=True,
        )
        for room in ROOMS
        for path in sorted(Path(room).rglob("*_native.pyx"))
    ]
    return list(cythonize(found, quiet=True))


setup(ext_modules=kernels())
