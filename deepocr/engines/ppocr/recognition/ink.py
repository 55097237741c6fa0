"""Ink and paper in the picture of a line."""

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[np.uint8]


def ink_of(gray: Gray) -> Gray:
    """1 where ink is, 0 on paper, which is what there is more of: letters may be light on dark."""
    _, ink = cv2.threshold(gray, 0, 1, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    if ink.mean() > 0.5:
        ink = 1 - ink
    mask: Gray = ink
    return mask
