"""Perceptual hash of an image: nearly the same for copies that were resized or encoded again."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels that are compared; enough detail for the lowest frequencies
_KEPT = 8  # frequencies per direction
BITS = _KEPT**2 - 1  # all but the brightness
_ROUNDING = 1e-6  # amplitude that is zero, as in an image of one color


def perceptual_hash(image: Image.Image, upright: Image.Transpose | None = None) -> int:
    """Return 63 bits: the signs of the lowest frequencies of an image, without its brightness.

    As pHash (Zauner 2010), with the sign in place of the median: mirroring an image changes the
    bits of odd horizontal frequencies, those with odd numbers, and no other.

    Args:
        image: RGB, any size.
        upright: transposition that turns it upright; None if it is.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    pixels = np.asarray(small if upright is None else small.transpose(upright), np.float64)
    frequencies = (_COSINES @ pixels @ _COSINES.T).ravel()
    signs = frequencies[1:] > _ROUNDING
    return int(np.packbits(signs, bitorder="little").view("<u8")[0])


def _cosines() -> NDArray[np.float64]:
    """Return the rows of the orthonormal discrete cosine transform, `float64[8, 32]`."""
    rows: NDArray[np.float64] = np.cos(
        np.pi / SIDE * np.outer(np.arange(_KEPT), np.arange(SIDE) + 0.5)
    )
    rows[0] /= np.sqrt(2)
    rows *= np.sqrt(2 / SIDE)
    return rows


_COSINES = _cosines()
