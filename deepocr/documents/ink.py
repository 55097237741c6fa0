"""Where a page has ink, found in a small gray copy of it."""

from PIL import Image, ImageChops, ImageFilter

LOOK_SIDE_PX = 1000
"""Longer side of the small copy in pixels. A ten-point digit is still 10 px high in it."""

LEAST_SIDE_PX = 600
"""Shortest side of the small copy in pixels, so that a long receipt or web page keeps its text."""

INK_STEP = 48
"""How much darker than the paper around it a pixel must be, of 255."""

MARGIN = 0.015
"""Share of each side that is ignored: scanners leave dark edges there."""

BLANK_PX = 24
"""Ink pixels (of the copy) up to which a page is blank: less than one digit of a page number."""


def ink_mask(image: Image.Image) -> Image.Image:
    """The page small, as an L picture with 255 where there is ink and 0 elsewhere.

    Ink is what is clearly darker than the paper around it, or clearly lighter on dark paper; so
    gray or yellowed paper, shadows and inverted pages are all handled. Single specks are removed.
    """
    gray = image.convert("L")
    scale = max(LOOK_SIDE_PX / max(gray.size), LEAST_SIDE_PX / min(gray.size))
    if scale < 1:
        size_px = (max(1, round(gray.width * scale)), max(1, round(gray.height * scale)))
        gray = gray.resize(size_px, Image.Resampling.BOX, reducing_gap=2.0)
    paper = _paper(gray)
    step = ImageChops.difference(paper, gray)
    mask = step.point(lambda value: 255 if value >= INK_STEP else 0)
    return _without_edges(_without_specks(mask))


def ink_share(mask: Image.Image) -> float:
    """The share of the page that is ink, 0 to 1."""
    return mask.histogram()[255] / (mask.width * mask.height)


def is_blank(mask: Image.Image) -> bool:
    """Whether there is nothing on the page that anyone could read."""
    return mask.histogram()[255] <= BLANK_PX


def _paper(gray: Image.Image) -> Image.Image:
    """The gray of the paper at each place: the median of blocks too large for letters to fill."""
    blocks = gray.resize((max(1, gray.width // 8), max(1, gray.height // 8)), Image.Resampling.BOX)
    # paper shows between letters: the lightest block around is paper, in a window of 7 blocks
    light = blocks.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.MaxFilter(7))
    return light.resize(gray.size, Image.Resampling.BILINEAR)


def _without_specks(mask: Image.Image) -> Image.Image:
    """Keeps ink pixels with at least two ink pixels among their eight neighbors."""
    # a box blur of radius 1 over 0/255 gives 255 * count / 9
    crowd = mask.filter(ImageFilter.BoxBlur(1)).point(lambda value: 255 if value >= 80 else 0)
    return ImageChops.darker(mask, crowd)


def _without_edges(mask: Image.Image) -> Image.Image:
    left, top = round(mask.width * MARGIN), round(mask.height * MARGIN)
    inner = (left, top, mask.width - left, mask.height - top)
    clean = Image.new("L", mask.size, 0)
    clean.paste(mask.crop(inner), (left, top))
    return clean
