"""One decode step as one CUDA graph, for a few batch sizes; smaller batches are padded.

Launching some 140 kernels one by one takes longer than running them for a batch of 1. A graph is
captured for each size once, at the start; its inputs are one tensor that is written before each
replay.
"""

import logging
import time
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.runner import DecodeInputs, Launched, Runner
from deepocr.engines.deepseek.sequence import Sequence
from deepocr.engines.deepseek.staging import Part, num_words

log = logging.getLogger(__name__)

WARM_UPS = 2
"""Runs before a capture, in which Triton compiles and libraries take their workspaces."""


def graph_sizes(max_sequences: int) -> list[int]:
    """1, 2, 4, 8, then every 8 up to 64, every 16 up to the most; a step pads to the next."""
    sizes = {1, 2, 4, *range(8, 65, 8), *range(80, max_sequences + 16, 16)}
    return [*sorted(size for size in sizes if size < max_sequences), max_sequences]


@dataclass(frozen=True)
class DecodeGraph:
    """`flat` is what is uploaded before a replay; tokens and probabilities (B,) after it."""

    graph: torch.cuda.CUDAGraph
    flat: Tensor
    tokens: Tensor
    probabilities: Tensor


class GraphRunner(Runner):
    """A Runner whose decode steps are graphs. Call `capture` once before the first step."""

    def capture(self) -> None:
        """Largest first: all graphs share one pool of memory. Call it under `on_stream`: nothing
        is captured on the default stream."""
        started_s = time.perf_counter()
        self.graphs: dict[int, DecodeGraph] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(graph_sizes(self.max_sequences)):
            self.graphs[size] = self._capture(size, pool)
        seconds = time.perf_counter() - started_s
        log.info("captured decode graphs for %s in %.1f s", sorted(self.graphs), seconds)

    def decode(self, sequences: Row[Sequence]) -> Launched:
        count = len(sequences)
        size = min(size for size in graph_sizes(self.max_sequences) if size >= count)
        tokens, probabilities = self._replay(self.padded_parts(sequences, size))
        return self._launched(tokens[:count], probabilities[:count])

    def padded_parts(self, sequences: Row[Sequence], size: int) -> list[Part]:
        """Inputs of a graph for `size` sequences."""
        return self.decode_parts(sequences, self.table_width, size - len(sequences))

    def _replay(self, parts: Row[Part]) -> tuple[Tensor, Tensor]:
        """Inputs of one of the sizes captured -> tokens and probabilities, padding included."""
        graph = self.graphs[len(parts[0])]
        self.staging.upload(parts, into=graph.flat)
        graph.graph.replay()
        return graph.tokens, graph.probabilities

    def _capture(self, size: int, pool: Any) -> DecodeGraph:
        parts = self.padded_parts([], size)
        flat = torch.empty(num_words(parts), dtype=torch.int64, device=self.device)
        inputs = DecodeInputs(*self.staging.upload(parts, into=flat))
        for _ in range(WARM_UPS):
            self.decode_step(inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self.stream):
            tokens, probabilities = self.decode_step(inputs)
        return DecodeGraph(graph, flat, tokens, probabilities)
