"""The labeled pages are read at least as well as they were, less a margin."""

from pathlib import Path

import pytest

from deepocr.engines.registry import create_engine
from deepocr.evaluation.run import evaluate, load_set
from deepocr.settings import Settings
from deepocr.tasks import make_job

LABELED = Path(__file__).resolve().parents[3] / "samples" / "labeled"

LEAST_SHARE = {"present": 0.93, "absent": 0.92, "order": 0.9, "table": 0.8}
"""All are 1.0 but for a check or two; what the margin allows is a change in a model's rounding."""

MOST_ERROR = 0.06


@pytest.mark.timeout(600)
async def test_labeled_pages_are_read_as_well_as_ever() -> None:
    settings = Settings(engine="ppocr")
    labeled = load_set([LABELED / "checks.jsonl"], None, None)
    engine = create_engine(settings)
    try:
        score = await evaluate(engine, labeled, make_job(), settings)
    finally:
        await engine.close()
    assert score.failed_pages == 0
    for kind, least in LEAST_SHARE.items():
        share = score.passed[kind] / score.total[kind]
        assert share >= least, f"{kind}: {share:.2f}, failed: {', '.join(score.failed_checks)}"
    assert score.error_rate is not None
    assert score.error_rate <= MOST_ERROR
