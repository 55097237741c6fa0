"""Graphs show what was measured and nothing else; those in the repository are of its figures."""

import argparse
from pathlib import Path
from xml.etree import ElementTree

from measure.bench import graph

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"


def test_the_graphs_are_drawn_from_the_figures(tmp_path: Path) -> None:
    options = argparse.Namespace(reports=[PICTURES / "ppocr.json"], out=tmp_path)
    assert graph.run(options) == 0
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in PICTURES.glob("*.svg")}
    for svg in drawn.values():
        ElementTree.fromstring(svg)


def test_bars_are_as_long_as_their_values() -> None:
    bars = graph.Bars("<title>", "note", ("a", "b"), {"row": [(1.0, "one"), (4.0, "four")]})
    tree = ElementTree.fromstring(bars.svg())
    rects = tree.findall("{http://www.w3.org/2000/svg}rect")[3:]
    one, four = (float(rect.get("width", 0)) for rect in rects)
    assert abs(four - 4 * one) < 0.5
