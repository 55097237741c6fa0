"""One decode step as one CUDA graph, for a few batch sizes; smaller batches are padded.

Launching some 400 kernels one by one takes longer than running them for a batch of 1. A graph is
captured for each size once, at the start; its inputs are one tensor that is written before each
replay. Padded rows have slot `max_sequences` and block 0, which no sequence ever holds.
"""

import logging
import time
from collections.abc import Sequence as Row
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepocr.engines.deepseek.runner import Launched, Runner
from deepocr.engines.deepseek.sequence import Sequence

log = logging.getLogger(__name__)

WARM_UPS = 2
"""Runs before a capture, in which Triton compiles and libraries take their workspaces."""


def graph_sizes(max_sequences: int) -> list[int]:
    """1, 2, 4, 8, then every 8 up to 64, every 16 up to the most; a step pads to the next."""
    sizes = {1, 2, 4, *range(8, 65, 8), *range(80, max_sequences + 16, 16)}
    return [*sorted(size for size in sizes if size < max_sequences), max_sequences]


@dataclass(frozen=True)
class DecodeGraph:
    """Inputs (B, HEADER + table_width) int64; tokens and probabilities (B,) after a replay."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    tokens: Tensor
    probabilities: Tensor


class GraphRunner(Runner):
    """A Runner whose decode steps are graphs. Call `capture` once before the first step."""

    def capture(self) -> None:
        """Largest first: all graphs share one pool of memory."""
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
        rows = [self.decode_row(sequence, self.table_width) for sequence in sequences]
        rows += [self.padding_row()] * (size - count)
        tokens, probabilities = self._replay(self._to_device(rows))
        return self._launched(tokens[:count], probabilities[:count])

    def _replay(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of one of the sizes captured -> tokens and probabilities, padding included."""
        graph = self.graphs[inputs.shape[0]]
        graph.inputs.copy_(inputs)
        graph.graph.replay()
        return graph.tokens, graph.probabilities

    def padding_row(self) -> list[int]:
        return [self.max_sequences, 0, 1] + [0] * self.table_width

    def _capture(self, size: int, pool: Any) -> DecodeGraph:
        inputs = self._to_device([self.padding_row()] * size)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self.step(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            tokens, probabilities = self.step(inputs)
        return DecodeGraph(graph, inputs, tokens, probabilities)

    def step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What a graph holds: rows as `padding_row` has them -> tokens, probabilities."""
        return self.decode_step(inputs, self.paged_batch(inputs))
