"""The client that most programs use, against a running server."""

import openai
import pytest

from tests.e2e.conftest import demo


@pytest.fixture
def client(serve):
    app = serve(demo(words_per_s=0.0))
    app.tabs.settings.change({"api": True})
    with openai.OpenAI(
        base_url=f"{app.address}/v1", api_key=app.tabs.api_key.read(), max_retries=0
    ) as client:
        yield client


def said(text):
    return [{"role": "user", "content": text}]


def test_openais_client_lists_the_model_and_gets_replies_whole_and_streamed(client):
    [model] = client.models.list()
    whole = client.chat.completions.create(model=model.id, messages=said("Count to 5"))
    [choice] = whole.choices
    assert choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert len(choice.message.content.split()) == 5
    parts = list(
        client.chat.completions.create(model=model.id, messages=said("Count to 5"), stream=True)
    )
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert sorted(text.replace(",", " ").split()) == ["1", "2", "3", "4", "5"]
    assert parts[-1].choices[0].finish_reason == "stop"


def test_openais_client_is_told_what_is_wrong_in_its_own_errors(client):
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.chat.completions.create(model="gpt", messages=said("Hello"))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="twofold", messages=said("Hello"), n=2)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another").models.list()
