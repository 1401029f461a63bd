"""Uniform draws from a hash: the same key always has the same fate, in any order and in any process.

This module must not know what is drawn.
"""

from typing import Final

import numpy as np

from trainer.simulate.facts import Array

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT: Final = 2.0**-53
_WORD: Final = 2**64


def mix(values: Array) -> Array:
    """Return the finaliser of splitmix64 (Steele, Lea and Flood, 2014) over an array of uint64."""
    z: Array = values ^ (values >> _S30)
    z *= _M1
    z ^= z >> _S27
    z *= _M2
    z ^= z >> _S31
    return z


def keys(seed: int, numbers: Array) -> Array:
    """Return one 64-bit key per payment number, shape (n,), uint64."""
    start = np.uint64((seed * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) % _WORD)
    return mix(numbers.astype(np.uint64) * _GOLDEN + start)


def uniform(key: Array, attempt: Array | int, purpose: int) -> Array:
    """Return a uniform draw in [0, 1) per key, float64, for one attempt and purpose.

    Parameters
    ----------
    key
        From `keys`, shape (n,).
    attempt
        The attempt number, one for all or one each.
    purpose
        A small number that separates draws of the same attempt.
    """
    if isinstance(attempt, int):
        salt = np.uint64(((attempt << 8) + purpose + 1) * int(_GOLDEN) % _WORD)
        mixed = mix(key + salt)
    else:
        mixed = mix(key + ((attempt.astype(np.uint64) << np.uint64(8)) + np.uint64(purpose + 1)) * _GOLDEN)
    mixed >>= _S11
    drawn: Array = mixed * _UNIT
    return drawn
