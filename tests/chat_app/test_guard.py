"""Who is let in: programs of this computer and our own page, and no page elsewhere."""

import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from chat_app.guard import HEADERS, LocalGuard, is_local

HERE = "http://127.0.0.1:7860"


@pytest.mark.parametrize(
    ("host", "origin", "local"),
    [
        ("127.0.0.1:7860", None, True),
        ("localhost:7860", "http://localhost:7860", True),
        ("[::1]:7860", "http://[::1]:7860", True),
        ("evil.example:7860", None, False),
        ("127.0.0.1.evil.example", None, False),
        ("", None, False),
        ("127.0.0.1:7860", "http://evil.example", False),
        ("127.0.0.1:7860", "http://127.0.0.1:9999", False),
        ("127.0.0.1:7860", "null", False),
    ],
)
def test_only_this_computer_and_this_page_are_let_in(host, origin, local):
    headers = {"host": host} | ({"origin": origin} if origin else {})
    assert is_local(Headers(headers)) is local


@pytest.fixture
def browser():
    app = FastAPI()
    app.add_middleware(LocalGuard)

    @app.api_route("/{rest:path}", methods=["GET", "POST"])
    def answer(rest: str) -> str:
        return rest

    return TestClient(app, base_url=HERE)


def sent(site, mode, dest):
    """What a browser says of a request that it sends."""
    return {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("path", "mode", "dest"),
    [
        ("/download/merged/1", "no-cors", "image"),
        ("/download/merged/1", "navigate", "document"),
        ("/download/picks?format=jsonl", "navigate", "iframe"),
        ("/v1/models", "cors", "empty"),
        ("/theme.css", "no-cors", "style"),
        ("/", "navigate", "iframe"),
        ("/", "no-cors", "image"),
    ],
)
def test_a_page_elsewhere_reaches_nothing(browser, site, path, mode, dest):
    answer = browser.get(path, headers=sent(site, mode, dest))
    assert answer.status_code == 403 and "its own page" in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", sent("none", "navigate", "document")),  # the address was typed
        ("/?c=a-key", sent("cross-site", "navigate", "document")),  # a link, or a reload after it
        ("/?c=a-key", sent("same-site", "navigate", "document")),
        ("/assets/index.js", sent("same-origin", "cors", "script")),
        ("/download/merged/1", sent("same-origin", "navigate", "document")),
        ("/download/merged/1", sent("same-origin", "no-cors", "empty")),
        ("/download/merged/1", {}),  # curl, or a browser that says nothing
        ("/v1/models", {}),
        ("/v1/models", {"sec-fetch-mode": "cors"}),  # Node's fetch
    ],
)
def test_our_page_a_link_to_it_and_programs_are_let_in(browser, path, headers):
    assert browser.get(path, headers=headers).status_code == 200


def test_the_page_may_send_and_another_may_not_by_a_form(browser):
    own = sent("same-origin", "cors", "empty") | {"origin": HERE}
    assert browser.post("/gradio_api/run", headers=own).status_code == 200
    other = sent("cross-site", "navigate", "document") | {"origin": "http://evil.example"}
    assert browser.post("/", headers=other).status_code == 403
