"""Endpoints in the shapes of other services, through real processes."""

import base64
from typing import Any

import openai
import pytest
from mistralai.client import Mistral

from deepocr.service.http.openai_chat import ChatRequest, chat_job
from deepocr.service.http.waiting import IncomingDocument
from tests.service.stack import Stack, book, picture

BAD_PNG = picture()[:60]


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def chat(prompt: str, *pictures: bytes) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [{"type": "text", "text": prompt}] if prompt else []
    parts += [{"type": "image_url", "image_url": {"url": data_url(p)}} for p in pictures]
    return [{"role": "user", "content": parts}]


@pytest.fixture
def client(embedded: Stack) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{embedded.url}/v1", api_key="none", max_retries=0)


@pytest.fixture
def mistral(embedded: Stack) -> Mistral:
    return Mistral(server_url=embedded.url, api_key="none")


# --- batch


def test_batch_keeps_the_order(embedded: Stack) -> None:
    files = [("files", (f"{i}.pdf", book(i))) for i in (2, 1, 3)]
    answer = embedded.http.post("/ocr_batch", files=files, data={"task": "Convert to Markdown"})
    assert answer.status_code == 200
    assert [text.count("# Page") for text in answer.json()["texts"]] == [2, 1, 3]


def test_batch_is_all_or_nothing(embedded: Stack) -> None:
    tasks = embedded.folder / "data" / "tasks"
    before = len(list(tasks.iterdir()))
    files = [("files", ("a.png", picture())), ("files", ("b.png", BAD_PNG))]
    answer = embedded.http.post("/ocr_batch", files=files)
    assert answer.status_code == 422
    assert "damaged" in answer.json()["detail"]
    assert len(list(tasks.iterdir())) == before


def test_batch_of_too_many(embedded: Stack) -> None:
    files = [("files", ("a.png", picture()))] * 9
    assert embedded.http.post("/ocr_batch", files=files).status_code == 422


# --- PaddleOCR HubServing


def test_paddle_fields(embedded: Stack) -> None:
    images = [base64.b64encode(content).decode() for content in (picture(), BAD_PNG, picture())]
    answer = embedded.http.post("/predict/ocr_system", json={"images": images})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"msg", "results", "status"}
    # where HubServing has an empty list for both, the message tells damaged from blank
    assert body["status"] == "000"
    assert body["msg"].startswith("images[1]: the picture is damaged")
    first, damaged, last = body["results"]
    assert damaged == []
    assert first == last
    assert set(first[0]) == {"text", "confidence", "text_region"}
    assert first[0]["text_region"] == [[10, 15], [200, 15], [200, 60], [10, 60]]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"no json", "112"), (b"[" * 100_000, "112"), (b"{}", "101"), (b'{"images": 3}', "101")],
)
def test_paddle_errors_are_http_200(embedded: Stack, body: bytes, status: str) -> None:
    answer = embedded.http.post("/predict/ocr_system", content=body)
    assert answer.status_code == 200
    assert answer.json()["status"] == status
    assert answer.json()["results"] == ""


# --- OpenAI


def test_openai_models(client: openai.OpenAI) -> None:
    assert {"deepocr", "deepocr-tiny"} <= {model.id for model in client.models.list()}


def test_openai_one_model(client: openai.OpenAI) -> None:
    assert client.models.retrieve("deepocr-tiny").id == "deepocr-tiny"
    with pytest.raises(openai.NotFoundError, match="unknown model"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_openai_token_limit_reaches_the_job(field: str) -> None:
    request = ChatRequest(model="deepocr", messages=chat("", picture()), **{field: 17})
    assert chat_job(request, 8, IncomingDocument).job.max_new_tokens == 17


@pytest.mark.parametrize(
    "option",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"stop": ["."]},
        {"logprobs": True},
        {"n": 2},
    ],
)
def test_openai_options_that_are_not_heeded(client: openai.OpenAI, option: dict[str, Any]) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=next(iter(option))):
        client.chat.completions.create(model="deepocr", messages=chat("", picture()), **option)


def test_openai_options_that_change_nothing(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="deepocr", messages=chat("", picture()), temperature=0, top_p=1, seed=3, n=1,
        response_format={"type": "text"}, logprobs=False, extra_body={"top_k": 1},
    )  # fmt: skip
    assert answer.choices[0].message.content


def test_openai_answers_markdown_without_a_prompt(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="deepocr", messages=chat("", picture()))
    text = answer.choices[0].message.content
    assert text.startswith("# Page 1\n\nRead with Convert to Markdown, Gundam")
    assert "<|" not in text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


def test_openai_takes_the_models_own_prompt(client: openai.OpenAI) -> None:
    prompt = "<image>\n<|grounding|>OCR this image."
    answer = client.chat.completions.create(
        model="deepocr-tiny", messages=chat(prompt, picture(), picture())
    )
    text = answer.choices[0].message.content
    assert text.count("<|ref|>title<|/ref|>") == 2
    assert "OCR with Boxes, Tiny" in text


@pytest.mark.parametrize("prompt", ["<|grounding|>OCR this image.", "Convert to Markdown"])
def test_openai_stream_equals_the_whole(client: openai.OpenAI, prompt: str) -> None:
    messages = chat(prompt, picture())
    whole = client.chat.completions.create(model="deepocr", messages=messages)
    stream = client.chat.completions.create(
        model="deepocr", messages=messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="unknown model"):
        client.chat.completions.create(model="gpt", messages=chat("", picture()))
    with pytest.raises(openai.UnprocessableEntityError, match="no task's"):
        client.chat.completions.create(model="deepocr", messages=chat("Sing!", picture()))
    with pytest.raises(openai.UnprocessableEntityError, match="0 pictures"):
        client.chat.completions.create(model="deepocr", messages=chat("Free OCR."))
    with pytest.raises(openai.APIStatusError, match="no picture or PDF"):
        client.chat.completions.create(model="deepocr", messages=chat("", b"text"))


# --- Mistral


def test_mistral_pages(embedded: Stack) -> None:
    document = {"type": "document_url", "document_url": data_url(book(4), "application/pdf")}
    body = {"model": "m", "document": document, "pages": [0, 2], "include_image_base64": True}
    answer = embedded.http.post("/v1/ocr", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [page["index"] for page in found["pages"]] == [0, 2]
    assert found["usage_info"]["pages_processed"] == 2
    page = found["pages"][1]
    assert page["dimensions"] == {"dpi": 576, "height": 1200, "width": 1600}
    image = page["images"][0]
    assert f"({image['id']})" in page["markdown"]
    assert image["image_base64"].startswith("data:image/jpeg;base64,")
    assert image["top_left_x"] < image["bottom_right_x"]


@pytest.mark.parametrize(
    ("pages", "read"), [("0-1,3", [0, 1, 3]), ([2], [2]), (None, [0, 1, 2, 3])]
)
def test_mistral_client(mistral: Mistral, pages: Any, read: list[int]) -> None:
    document = {"type": "document_url", "document_url": data_url(book(4), "application/pdf")}
    answer = mistral.ocr.process(
        model="deepocr", document=document, pages=pages, extract_header=True
    )
    assert [page.index for page in answer.pages] == read
    title, text, image = answer.pages[0].blocks
    assert [block.type for block in (title, text, image)] == ["title", "text", "image"]
    assert title.content == f"# Page {read[0] + 1}"
    assert image.image_id == answer.pages[0].images[0].id
    assert (text.top_left_x, text.top_left_y) == (40, 360)
    assert answer.pages[0].header is None


def test_mistral_models(mistral: Mistral) -> None:
    found = mistral.models.list().data
    assert {"deepocr", "deepocr-tiny"} <= {model.id for model in found}
    assert all(model.capabilities.ocr for model in found)
    assert mistral.models.retrieve(model_id="deepocr").id == "deepocr"


@pytest.mark.parametrize(
    "option",
    [
        {"table_format": "html"},
        {"document_annotation_format": {"type": "json_schema"}},
        {"bbox_annotation_format": {"type": "json_schema"}},
        {"document_annotation_prompt": "What is it?"},
        {"confidence_scores_granularity": "word"},
    ],
)
def test_mistral_options_that_are_not_heeded(embedded: Stack, option: dict[str, Any]) -> None:
    document = {"type": "image_url", "image_url": data_url(picture())}
    answer = embedded.http.post("/v1/ocr", json={"document": document, **option})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{next(iter(option))} is not supported")


def test_mistral_picture_and_refusals(embedded: Stack) -> None:
    good = {"document": {"type": "image_url", "image_url": {"url": data_url(picture())}}}
    assert embedded.http.post("/v1/ocr", json=good).status_code == 200
    for url in ("http://127.0.0.1/a.pdf", "file:///etc/passwd", "data:,plain"):
        body = {"document": {"type": "document_url", "document_url": url}}
        assert embedded.http.post("/v1/ocr", json=body).status_code == 422
    beyond = {**good, "pages": [5]}
    assert embedded.http.post("/v1/ocr", json=beyond).status_code == 422


def test_requests_that_wait_leave_nothing(embedded: Stack) -> None:
    tasks = embedded.folder / "data" / "tasks"
    before = set(tasks.iterdir())
    good = {"document": {"type": "image_url", "image_url": data_url(picture())}}
    assert embedded.http.post("/v1/ocr", json=good).status_code == 200
    assert set(tasks.iterdir()) == before
