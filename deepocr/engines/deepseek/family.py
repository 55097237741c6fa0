"""What the members of the family differ in beside their networks: presets, prompts, the ban.

Which one a checkpoint is says its config.json, never its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deepocr.engines.deepseek.config import OcrConfig, QwenConfig
from deepocr.tasks import PAGES_TOGETHER, PRESETS, PROMPTS, Preset


@dataclass(frozen=True)
class Member:
    """What the model was trained for: `presets` by title, `prompts` by the task's title.

    `engine` is its name in results. `ban` is the size of n-grams that are not repeated, and the
    window in which they are looked for, `joined_window` where pages are read together; with
    `cells_may_repeat`, the tags of a table's cells are never banned.
    """

    engine: str
    presets: Mapping[str, Preset]
    prompts: Mapping[str, str]
    ban: tuple[int, int]
    cells_may_repeat: bool = True
    joined_window: int | None = None

    @property
    def view_sides_px(self) -> tuple[int, ...]:
        """Sides of all views that there can be, in order."""
        presets = self.presets.values()
        tiles = {preset.tile_side_px for preset in presets if preset.max_tiles}
        return tuple(sorted(tiles | {preset.side_px for preset in presets}))


DEEPSEEK_OCR = Member("deepseek", PRESETS, PROMPTS, ban=(30, 90))

DEEPSEEK_OCR_2 = Member(
    "deepseek-ocr-2",
    {
        preset.title: preset
        for preset in (
            Preset("Gundam (Recommended)", "gundam", 1024, "pad", 6, 768, newlines=False),
            Preset("Base", "base", 1024, "pad", newlines=False),
        )
    },
    PROMPTS,
    ban=(20, 90),
)

UNLIMITED_OCR = Member(
    "unlimited-ocr",
    {
        "Gundam (Recommended)": replace(PRESETS["Gundam (Recommended)"], max_tiles=32),
        "Base": PRESETS["Base"],
    },
    {
        "Convert to Markdown": "<image>document parsing.",
        PAGES_TOGETHER.title: PAGES_TOGETHER.prompt,
    },
    ban=(35, 128),
    cells_may_repeat=False,
    joined_window=1024,
)


def member_of(config: OcrConfig) -> Member:
    """The member whose network this is."""
    if isinstance(config.encoder, QwenConfig):
        return DEEPSEEK_OCR_2
    return UNLIMITED_OCR if config.decoder.sliding_window else DEEPSEEK_OCR
