"""Endpoints in the shapes of other services, through real processes."""

import base64

import openai
import pytest

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
    assert (body["status"], body["msg"]) == ("000", "")
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
    assert page["dimensions"] == {"dpi": 144, "height": 300, "width": 400}
    image = page["images"][0]
    assert f"({image['id']})" in page["markdown"]
    assert image["image_base64"].startswith("data:image/jpeg;base64,")
    assert image["top_left_x"] < image["bottom_right_x"]


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
