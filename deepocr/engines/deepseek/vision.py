"""Pictures to slot features, many pages at once.

Decoding and resizing run in threads (`prepare`), views of one side go through the encoder
together, as many at a time as a budget of memory allows (`VisionBatcher`). On CUDA that happens on
a thread and a stream of its own, so that the decoder goes on meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.staging import Pixels
from deepocr.engines.deepseek.tiles import Views, make_views, to_pixels
from deepocr.tasks import Preset

BYTES_A_PIXEL = 160
"""Working memory of the encoder a pixel of a view in bf16 where it is not measured: MLP, fused q,
k, v and their copies."""


@dataclass(frozen=True, eq=False)
class PreparedPage:
    """Pixels of the global view (3, S, S) and of the tiles (n, 3, s, s), rounded to bf16.

    `num_slots` counts those of the pages in `following` too, which are read together with it.
    """

    overview: Tensor
    tiles: Tensor | None
    grid: tuple[int, int]
    num_slots: int
    following: "tuple[PreparedPage, ...]" = ()

    @property
    def views(self) -> list[Tensor]:
        """The global view, then the tiles."""
        return [self.overview, *(() if self.tiles is None else self.tiles.unbind(0))]

    @property
    def pages(self) -> "tuple[PreparedPage, ...]":
        """It and those that follow."""
        return (self, *self.following)

    @property
    def num_pixels(self) -> int:
        """Of all views."""
        return sum(view.numel() for page in self.pages for view in page.views) // 3


def prepare(image: Image.Image, preset: Preset) -> PreparedPage:
    """An upright picture as the encoder takes it. Safe to run in many threads."""
    return prepare_views(make_views(image, preset))


def joined(first: PreparedPage, *following: PreparedPage) -> PreparedPage:
    """Pages for one reading: their slots stand one page after the other."""
    num_slots = sum(page.num_slots for page in (first, *following))
    return replace(first, num_slots=num_slots, following=following)


def prepare_views(views: Views) -> PreparedPage:
    overview = _to_tensor([views.overview])[0]
    tiles = _to_tensor(views.tiles) if views.tiles else None
    return PreparedPage(overview, tiles, views.grid, views.num_slots)


def _to_tensor(images: Sequence[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([to_pixels(image) for image in images])).to(torch.bfloat16)


class VisionBatcher:
    """Encodes pages together; at most `budget_bytes` of working memory at a time."""

    def __init__(
        self, model: OcrModel, budget_bytes: int, bytes_a_pixel: float | None = None
    ) -> None:
        self.model = model
        self.budget_bytes = budget_bytes
        self.bytes_a_pixel = bytes_a_pixel or BYTES_A_PIXEL * model.dtype.itemsize / 2
        self._pixels = Pixels(model.device)
        self._thread: ThreadPoolExecutor | None = None
        if model.device.type == "cuda":
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
            self._stream = torch.cuda.Stream(model.device)  # type: ignore[no-untyped-call]

    @property
    def max_pixels(self) -> int:
        """Pixels of views that may be encoded together."""
        return int(self.budget_bytes / self.bytes_a_pixel)

    def start(self, pages: Sequence[PreparedPage]) -> "Future[list[Tensor]]":
        """`encode`, on CUDA beside what the caller goes on with; else it is done on return."""
        if self._thread is not None:
            return self._thread.submit(self._encode_beside, pages)
        done: Future[list[Tensor]] = Future()
        try:
            done.set_result(self.encode(pages))
        except Exception as error:  # noqa: BLE001 - told by the future, as a thread would
            done.set_exception(error)
        return done

    def close(self) -> None:
        """Starts nothing more."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    @torch.inference_mode()
    def _encode_beside(self, pages: Sequence[PreparedPage]) -> list[Tensor]:
        with torch.cuda.device(self.model.device), torch.cuda.stream(self._stream):
            found = self.encode(pages)
        self._stream.synchronize()
        return found

    @torch.inference_mode()
    def warm_up(self, sides_px: Sequence[int]) -> None:
        """A view of each side, so that nothing is compiled or set up for the first page."""
        self._pixels.reserve(3 * max(self.max_pixels, max(sides_px) ** 2))
        for side in sides_px:
            self._encode_side([torch.zeros(3, side, side, dtype=torch.bfloat16)])

    def encode(self, pages: Sequence[PreparedPage]) -> list[Tensor]:
        """Slot features of each page, (slots, hidden)."""
        views: dict[int, list[Tensor]] = defaultdict(list)
        for page in pages:
            for view in (view for part in page.pages for view in part.views):
                views[view.shape[-1]].append(view)
        features = {side: iter(self._encode_side(all_of)) for side, all_of in views.items()}
        return [torch.cat([self._collect(part, features) for part in page.pages]) for page in pages]

    def _encode_side(self, views: list[Tensor]) -> list[Tensor]:
        """Square views of one side -> features of each, ((S / 64)^2, hidden)."""
        side = views[0].shape[-1]
        at_once = max(1, self.max_pixels // side**2)
        found: list[Tensor] = []
        for start in range(0, len(views), at_once):
            pixels = self._pixels.upload(views[start : start + at_once], self.model.dtype)
            found += self.model.encode(pixels).unbind(0)
        return found

    def _collect(self, page: PreparedPage, features: dict[int, Iterator[Tensor]]) -> Tensor:
        """Takes a page's views in the order in which `encode` put them in line."""
        encoded = [next(features[view.shape[-1]]) for view in page.views]
        tiles = torch.stack(encoded[1:]) if len(encoded) > 1 else None
        return self.model.fill_slots(encoded[0], tiles, page.grid)
