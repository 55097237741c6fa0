"""KV-cache blocks: who holds which. Counting only; the tensors belong to the runner."""

from collections.abc import Iterable


class BlockPool:
    """Blocks of `block_tokens` tokens each, handed out and given back by number.

    Block 0 is never handed out: padded rows of a CUDA graph write there. `total` counts the
    others, and free + used == total at all times.
    """

    def __init__(self, num_blocks: int, block_tokens: int) -> None:
        if num_blocks < 2 or block_tokens < 1:
            raise ValueError(
                f"a pool of {num_blocks} blocks of {block_tokens} tokens holds nothing; "
                "it needs 2 blocks or more, as block 0 is kept back"
            )
        self.block_tokens = block_tokens
        # taken from the end, so that low numbers go first
        self._free = list(range(num_blocks - 1, 0, -1))
        self._used: set[int] = set()
        self.total = num_blocks - 1

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return len(self._used)

    def blocks_for(self, tokens: int) -> int:
        """How many blocks `tokens` tokens need."""
        return -(-tokens // self.block_tokens)

    def unseen(self, prompt: int, length: int, window: int | None) -> range:
        """Of the blocks of a sequence, by index, those that neither its last token nor a later one
        sees: between the prompt and the last `window` tokens."""
        if window is None:
            return range(0)
        first = self.blocks_for(prompt)
        return range(first, max(first, (length - window) // self.block_tokens))

    def take(self, count: int) -> list[int]:
        """`count` blocks. Asking for more than are free is a bug of the caller."""
        assert count <= self.free, f"{count} blocks asked for, {self.free} free"
        taken = [self._free.pop() for _ in range(count)]
        self._used.update(taken)
        return taken

    def give_back(self, blocks: Iterable[int]) -> None:
        """0 stands for a block that was given back before."""
        for block in filter(None, blocks):
            self._used.remove(block)  # KeyError: given back twice
            self._free.append(block)
