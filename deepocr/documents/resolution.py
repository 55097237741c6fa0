"""How finely a page of a PDF is drawn when nobody has named a resolution."""

import math
from collections.abc import Iterable

POINTS_PER_INCH = 72

LEAST_DPI, LEAST_SIDE_PX = 144, 1600
"""Every page gets at least this much, whatever is on it; so does its longer side."""

FINEST_DPI, FINEST_SIDE_PX = 300, 3508
"""More makes no letter clearer. A scan may be small in points: its longer side gets as much as
that of an A4 page."""

FILLS = 0.8
"""Share of a page's area that pictures cover which are a scan of it."""


def auto_zoom(
    width_pt: float,
    height_pt: float,
    pictures: Iterable[tuple[float, float]],
    max_pixels: int,
) -> float:
    """Pixels a point for a page with these pictures, each told as (its own pixels a point, its
    area in square points).

    A scan's own resolution, the finest at which pictures fill the page: a text layer of its own
    (MRC) counts more than the paper behind it, and strips count together.
    """
    longer_pt, shorter_pt = max(width_pt, height_pt), min(width_pt, height_pt)
    least = min(max(LEAST_DPI / POINTS_PER_INCH, LEAST_SIDE_PX / longer_pt), _MOST)
    finest = min(max(FINEST_DPI / POINTS_PER_INCH, FINEST_SIDE_PX / longer_pt), _MOST)
    # sides are rounded up to whole pixels
    fitting = math.sqrt(max_pixels / (width_pt * height_pt)) - 1 / shorter_pt
    covered_pt2 = 0.0
    for zoom, area_pt2 in sorted(pictures, reverse=True):
        covered_pt2 += area_pt2
        if covered_pt2 >= FILLS * width_pt * height_pt:
            return max(least, min(zoom, finest, fitting))
    return least


_MOST = 1200 / POINTS_PER_INCH
