"""The engine's own path in the parity comparison: fast operations, pages in a ragged batch."""

from collections.abc import Sequence

import torch

from deepocr.engines.deepseek.build import make_reader
from deepocr.engines.deepseek.kv_cache import BLOCK_TOKENS
from deepocr.engines.deepseek.model.ocr import OcrModel
from deepocr.engines.deepseek.ops.choice import FastOps
from deepocr.engines.deepseek.page_in_batch import Failed, PageInBatch, Token
from deepocr.engines.deepseek.sampling import NGramBan
from deepocr.engines.deepseek.tiles import Views
from deepocr.engines.deepseek.tokens import Prompt
from deepocr.engines.deepseek.vision import prepare_views
from measure.parity.stages import Case, PlainImplementation

MAX_NEIGHBORS = 3


class BatchedImplementation(PlainImplementation):
    """Tokens by the batched reader, each page with others of the folder beside it, which begin
    with it and end before it or go on. Activations by the same network called directly."""

    name = "fast"

    def __init__(self, model: OcrModel, ops: FastOps, cases: Sequence[Case]) -> None:
        super().__init__(model)
        self.ops = ops
        self.neighbors = [(case.prompt(views.num_slots), views) for case, views in _small(cases)]

    @torch.inference_mode()
    def greedy(
        self, views: Views, prompt: Prompt, ban: NGramBan, max_new_tokens: int
    ) -> Sequence[int]:
        if ban.size and ban.window is None:
            # a batch has no ban over whole sequences: one page, step by step
            return super().greedy(views, prompt, ban, max_new_tokens)
        count = 1 + len(self.neighbors)
        context = self.model.config.decoder.max_position_embeddings
        reader = make_reader(
            self.model,
            self.ops,
            ban=ban,
            end_id=self.model.config.decoder.eos_token_id,
            max_sequences=count,
            num_blocks=1 + count * -(-context // BLOCK_TOKENS),
        )
        page = reader.submit(prompt, prepare_views(views), max_new_tokens)
        for index, (other, other_views) in enumerate(self.neighbors):
            length = max(1, max_new_tokens * (index + 1) // 2)
            reader.submit(other, prepare_views(other_views), length)
        written: list[int] = []
        while not reader.idle:
            for reading, update in reader.step():
                _take(reading, update, page, written)
        return written


def _take(reading: PageInBatch, update: object, page: PageInBatch, written: list[int]) -> None:
    match update:
        case Failed(error):
            raise error
        case Token(token=token) if reading is page:
            written.append(token)


def _small(cases: Sequence[Case]) -> list[tuple[Case, Views]]:
    """The cases with the shortest prompts: company that costs little."""
    with_views = [(case, case.views()) for case in cases]
    return sorted(with_views, key=lambda pair: pair[1].num_slots)[:MAX_NEIGHBORS]
