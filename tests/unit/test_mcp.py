"""The server for agents, over stdio and in this process, with the SDK's own client."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pymupdf
import pytest

pytest.importorskip("mcp", reason="the mcp extra is not installed")

from mcp import Client, StdioServerParameters

from deepocr import AsyncReader
from deepocr.cli import main
from deepocr.mcp_server import MAX_CHARS, MAX_FINDINGS, make_server

ROOT = Path(__file__).resolve().parents[2]
LINES = ("Six hives stand on the roof.", "The keeper climbs up twice a week.", "Nobody was stung.")
TEXT = "<|ref|>text<|/ref|><|det|>[[100, 100, 900, 400]]<|/det|>\n" + "\n".join(LINES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the agent may read; a secret lies beside it."""
    folder = tmp_path / "papers"
    folder.mkdir()
    with pymupdf.open() as document:
        for _ in range(3):
            page = document.new_page(width=400, height=300)
            for place, line in enumerate(LINES):
                page.insert_text((40, 60 + 40 * place), line, fontsize=18)
        document.save(folder / "book.pdf")
        document.save(tmp_path / "secret.pdf")
    (folder / "notes.txt").write_text("no document")
    (folder / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    (folder / "circle.pdf").symlink_to(folder / "circle.pdf")
    os.mkfifo(folder / "pipe.pdf")
    return folder


def script(folder: Path, text: str = TEXT) -> Path:
    path = folder.parent / "script.json"
    path.write_text(json.dumps({"default": {"text": text}, "pages": {"2": {"error": "bad luck"}}}))
    return path


@asynccontextmanager
async def connected(folder: Path, text: str = TEXT) -> AsyncIterator[Client]:
    reader = AsyncReader("scripted", script=script(folder, text), max_pages=3, dpi=144)
    async with Client(make_server(reader, [folder])) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    """What the tool answers; the text of the error where it failed."""
    answer = await client.call_tool(tool, arguments)
    text = getattr(answer.content[0], "text", "")
    return f"error: {text}" if answer.is_error else answer.structured_content


async def test_over_stdio(folder: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "deepocr", "mcp", str(folder), "--engine", "scripted", "--max-pages", "2"],
        env={"PYTHONPATH": str(ROOT), "DEEPOCR_SCRIPT": str(script(folder))},
    )
    seen: list[float] = []

    async def progress(done: float, *_: object) -> None:
        seen.append(done)

    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"read_document", "locate", "check_text"}
        assert all(tool.description and tool.output_schema for tool in tools.values())
        asked = {"path": "book.pdf", "pages": "1-2"}
        answer = await client.call_tool("read_document", asked, progress_callback=progress)
        one, two = (answer.structured_content or {})["pages"]
        assert (one["page"], one["status"]) == (1, "ok")
        assert LINES[0] in one["markdown"]
        assert (two["status"], two["error"]) == ("failed", "bad luck")
        assert seen == [1, 2]
        too_much = await call(client, "read_document", path="book.pdf")
        assert "3 pages are asked for; at most 2" in too_much


async def test_where_it_is(folder: Path) -> None:
    found = "<|ref|>the hives<|/ref|><|det|>[[100, 100, 500, 200]]<|/det|>"
    async with connected(folder, found) as client:
        answer = await call(client, "locate", path="book.pdf", text="the hives", page=3)
    assert (answer["width"], answer["height"]) == (800, 600)
    assert answer["places"] == [{"text": "the hives", "boxes_px": [[80, 60, 400, 120]]}]


async def test_does_a_text_say_what_the_page_shows(folder: Path) -> None:
    async with connected(folder) as client:
        sound = await call(client, "check_text", path="book.pdf", page=3, text="\n".join(LINES))
        wrong = await call(client, "check_text", path="book.pdf", page=3, text=LINES[0])
        beyond = await call(client, "check_text", path="book.pdf", page=9, text="x")
    assert (sound["verdict"], sound["findings"]) == ("confirmed", [])
    assert wrong["verdict"] == "contradicted"
    assert wrong["findings"][0]["kind"] == "missing"
    assert len(wrong["findings"]) <= MAX_FINDINGS
    assert "no page 9" in beyond


async def test_a_text_of_an_encrypted_document(folder: Path) -> None:
    with pymupdf.open(folder / "book.pdf") as document:
        document.save(folder / "locked.pdf", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="open")
    asked = {"path": "locked.pdf", "page": 3, "text": "\n".join(LINES)}
    async with connected(folder) as client:
        assert "encrypted" in await call(client, "check_text", **asked)
        answer = await call(client, "check_text", **asked, password="open")
    assert answer["verdict"] == "confirmed"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/etc/hostname",
            "../secret.pdf",
            "link.pdf",
            "circle.pdf",
            "pipe.pdf",
            ".",
            "",
            "nothing",
        ),
        *("book.pdf\0", "/dev/zero", "x" * 900, "~/book.pdf", "file:///etc/hostname"),
    ],
)
async def test_nothing_else_is_read(folder: Path, path: str) -> None:
    async with connected(folder) as client:
        for tool, more in (
            ("read_document", {}),
            ("locate", {"text": "x"}),
            ("check_text", {"text": "x"}),
        ):
            said = await call(client, tool, path=path, **more)
            assert "is no file in the folders of this server" in said


async def test_what_cannot_be_asked_is_told(folder: Path) -> None:
    async with connected(folder) as client:
        assert "less than or equal" in await call(
            client, "locate", path="book.pdf", text="x", page=10**9
        )
        assert "at most" in await call(client, "read_document", path="x" * 2000)
        assert "at most" in await call(client, "check_text", path="book.pdf", text="x" * 300_000)
        assert "needs a reference_text" in await call(client, "locate", path="book.pdf", text=" ")
        assert "no picture or PDF" in await call(client, "read_document", path="notes.txt")
        # the server is well
        assert (await call(client, "read_document", path=str(folder / "book.pdf"), pages="1"))[
            "pages"
        ]


async def test_answers_are_bounded(folder: Path) -> None:
    async with connected(folder, f"{TEXT}\n{'word ' * 16_000}") as client:
        answer = await call(client, "read_document", path="book.pdf")
    texts = [len(page["markdown"]) for page in answer["pages"]]
    assert sum(texts) == MAX_CHARS
    assert answer["pages"][2]["cut"] > 50_000


def test_folders_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mcp", str(tmp_path / "nothing"), "--engine", "scripted"]) == 2
    assert "is no folder; name those whose documents may be read" in capsys.readouterr().err
