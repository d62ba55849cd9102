"""``/v1`` as another program meets it: OpenAI's shapes, a key, a switch, its turn in the row."""

import asyncio
import json
import stat
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from chat_app.api import Api
from chat_app.api_key import ApiKey
from chat_app.errors import ChatError
from chat_app.hang_up import HangUp
from chat_app.openai_shapes import read_request
from chat_app.port import HOST, bound
from chat_app.settings import Settings
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.errors import PromptFormError
from storage.records import FinishReason, Sampling, Thumb
from tests.chat_app.makers import FailingReplyMaker, GatedReplyMaker, scripted


class Client:
    """A program: it knows the key, and the address."""

    def __init__(self, serve, replies, tmp_path, **settings):
        self.settings = Settings(data=tmp_path, api=True, **settings)
        self.service = serve(replies)
        self.key = ApiKey(tmp_path / "api-key")
        self.app = FastAPI()
        Api(
            self.service.completions(lambda: self.settings),
            self.key,
            max_chars=100,
            is_on=lambda: self.settings.api,
        ).add_to(self.app)
        self.http = TestClient(self.app)

    def ask(self, path="chat/completions", key=None, **body):
        headers = {"authorization": f"Bearer {key or self.key.read()}"}
        return self.http.post(f"/v1/{path}", json=body, headers=headers)

    def say(self, text, **body):
        return self.ask(messages=[{"role": "user", "content": text}], **body)

    @contextmanager
    def leaving(self):
        """It asks over the wire, as the page is served, and goes away at a time limit."""
        self.app.add_middleware(HangUp, ending=asyncio.Event())
        socket = bound(0)
        config = uvicorn.Config(self.app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            self.http = httpx.Client(
                base_url=f"http://{HOST}:{socket.getsockname()[1]}",
                timeout=httpx.Timeout(30, read=0.3),
            )
            with self.http, pytest.raises(httpx.ReadTimeout):
                yield
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(serve, tmp_path):
    return Client(serve, scripted(), tmp_path)


def events(answer):
    """The bodies of a stream; its end must have been told."""
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def error(answer, status):
    assert answer.status_code == status
    told = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return told


def test_a_reply_comes_in_the_shape_of_openai(client):
    answer = client.say("Count to 3", model="twofold")
    assert answer.status_code == 200
    body = answer.json()
    assert body["object"] == "chat.completion" and body["model"] == "twofold"
    [choice] = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert sorted(choice["message"]["content"].replace(",", "").split()) == ["1", "2", "3"]
    assert client.service.shelf.list() == []  # nothing of it is kept


def test_a_stream_is_the_same_reply_in_pieces(client):
    whole = client.say("Count to 30", seed=5).json()["choices"][0]["message"]["content"]
    answer = client.say("Count to 30", seed=5, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *middle, last = events(answer)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(one["choices"][0]["delta"]["content"] for one in middle)
    assert text == whole
    assert last["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert len({one["id"] for one in (first, *middle, last)}) == 1
    assert {one["object"] for one in (first, last)} == {"chat.completion.chunk"}


def test_parts_and_instructions_are_understood(client):
    parts = [{"type": "text", "text": "Repeat after me: "}, {"type": "text", "text": "tea"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": parts},
    ]
    answer = client.ask(messages=messages)
    assert "tea" in answer.json()["choices"][0]["message"]["content"]


def test_a_stop_text_ends_the_reply_and_is_never_shown(client):
    said = client.say("Repeat after me: one two STOP three", seed=1, stop="STOP")
    text = said.json()["choices"][0]["message"]["content"]
    assert text.rstrip().endswith("one two") and "STOP" not in text
    answer = client.say("Repeat after me: one two STOP three", seed=1, stop=["STOP"], stream=True)
    pieces = [one["choices"][0]["delta"].get("content", "") for one in events(answer)]
    assert "".join(pieces) == text


class LimitedReplyMaker(ScriptedReplyMaker):
    """Reaches its limit of tokens before anything of the reply is seen, as while drafting."""

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        plan = super().reply(prompt, version, seed, lambda _: None, Event(), **wishes)
        cut = replace(plan.shown[0], finish_reason=FinishReason.LENGTH)
        return replace(plan, shown=(cut,))


def test_a_stop_text_before_the_limit_ended_the_reply(serve, tmp_path):
    client = Client(serve, LimitedReplyMaker(words_per_s=0.0), tmp_path, api_log=True)
    said = client.say("Repeat after me: one two STOP three", seed=1, stop="STOP").json()
    [choice] = said["choices"]
    assert choice["message"]["content"].rstrip().endswith("one two")
    assert choice["finish_reason"] == "stop"
    kept = client.service.view(client.service.shelf.list()[0].id).turns[1]
    assert kept.message.content == choice["message"]["content"]
    assert client.say("Count to 3").json()["choices"][0]["finish_reason"] == "length"


def test_what_is_drawn_after_a_stop_text_is_not_kept(serve, tmp_path):
    client = Client(serve, scripted(), tmp_path, api_log=True)
    said = client.say("Repeat after me: one two STOP three", seed=1, stop="STOP").json()
    kept = client.service.view(client.service.shelf.list()[0].id).turns[1]
    assert kept.message.content == said["choices"][0]["message"]["content"]
    assert client.ask("feedback", id=said["id"], rating="up").status_code == 200


def test_a_reply_without_a_word_before_its_stop_text_is_not_kept(serve, tmp_path):
    client = Client(serve, scripted(), tmp_path, api_log=True)
    said = client.say("Count to 3", stop=["1", "2", "3", " "], seed=1).json()
    assert said["choices"][0]["message"]["content"] == ""
    assert client.service.shelf.list() == []


def test_replies_without_a_seed_differ_and_with_one_repeat(serve, tmp_path, monkeypatch):
    maker, seeds = scripted(), []
    client = Client(serve, maker, tmp_path)
    reply = maker.reply

    def noted(prompt, version, seed, *rest, **wishes):
        seeds.append(seed)
        return reply(prompt, version, seed, *rest, **wishes)

    monkeypatch.setattr(maker, "reply", noted)
    for _ in range(3):
        client.say("hi")
    client.say("hi", seed=7)
    assert len(set(seeds)) == 4 and seeds[-1] == 7
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_models_are_listed(client):
    headers = {"authorization": f"Bearer {client.key.read()}"}
    body = client.http.get("/v1/models", headers=headers).json()
    assert body["object"] == "list"
    assert [one["id"] for one in body["data"]] == ["twofold"]


def test_it_is_closed_until_it_is_switched_on_and_without_the_key(client):
    assert error(client.say("hi", key="wrong"), 401)["code"] == "invalid_api_key"
    assert error(client.http.get("/v1/models"), 401)["type"] == "authentication_error"
    old = client.key.read()
    client.key.renew()
    error(client.say("hi", key=old), 401)
    client.settings = replace(client.settings, api=False)
    assert "switch it on" in error(client.say("hi"), 403)["message"]
    assert not Settings(data=client.settings.data).api


def test_nobody_else_may_read_the_key(tmp_path):
    key = ApiKey(tmp_path / "api-key")
    made = key.read()
    assert made == key.read() and len(made) > 40
    assert stat.S_IMODE((tmp_path / "api-key").stat().st_mode) == 0o600
    assert key.opens(made) and not key.opens(made + "x") and not key.opens("")


@pytest.mark.parametrize("left", [b"", b" \n", b"\xff\xfe"])
def test_a_key_that_a_crash_left_empty_opens_nothing(client, tmp_path, left):
    (tmp_path / "api-key").write_bytes(left)
    bare = client.http.get("/v1/models", headers={"authorization": "Bearer "})
    assert error(bare, 401)["code"] == "invalid_api_key"
    made = client.key.read()
    assert len(made) > 40 and (tmp_path / "api-key").read_text() == made
    assert client.say("hi", key=made).status_code == 200


def test_nobody_else_may_read_the_file_of_the_key(tmp_path):
    path = tmp_path / "api-key"
    ApiKey(path).read()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_kept_is_a_sentence(client, tmp_path):
    (tmp_path / "api-key").mkdir()
    with pytest.raises(ChatError, match="cannot be read"):
        client.key.read()
    with pytest.raises(ChatError, match="cannot be written"):
        client.key.renew()
    assert [one.name for one in tmp_path.glob("api-key*")] == ["api-key"]
    assert "cannot be read" in error(client.say("hi", key="any"), 500)["message"]


@pytest.mark.parametrize("content", ["half \ud83d", [{"type": "text", "text": "half \ud83d"}]])
def test_half_a_character_is_replaced_as_on_the_page(content):
    """No tokenizer takes it."""
    body = json.dumps({"messages": [{"role": "user", "content": content}]})
    [message] = read_request(body.encode(), max_chars=100).messages
    assert message.content == "half \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": [], "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x" * 101}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content",
        ),
        ({"temperature": 9}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"max_completion_tokens": None, "max_tokens": 0}, "max_tokens"),
        ({"seed": 2**70}, "seed"),
        ({"seed": -1}, "seed"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": list("abcde")}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ({"top_k": 20}, "top_k"),
        ({"min_p": [0.1]}, "min_p"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(client, body, param):
    asked = body if "messages" in str(param) else client_body(body)
    told = error(client.ask(**asked), 400)
    assert (told["param"], told["type"]) == (param, "invalid_request_error")


def test_what_asks_for_nothing_is_no_hindrance(client):
    nothing = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "top_k": -1,
        "min_p": None,
        "tools": [],
        "n": 1,
    }
    assert client.say("hi", **nothing).status_code == 200


def client_body(body):
    return {"messages": [{"role": "user", "content": "hi"}]} | body


def test_other_models_addresses_and_bodies_are_refused(client):
    assert error(client.say("hi", model="gpt-9"), 404)["code"] == "model_not_found"
    assert "/v1/embeddings" in error(client.ask("embeddings"), 404)["message"]
    headers = {"authorization": f"Bearer {client.key.read()}"}
    address = "/v1/chat/completions"
    error(client.http.post(address, content=b"{oh no", headers=headers), 400)
    error(client.http.post(address, content=b"[]", headers=headers), 400)
    deep = b"[" * 200_000
    for path in (address, "/v1/feedback"):
        told = error(client.http.post(path, content=deep, headers=headers), 400)
        assert told["type"] == "invalid_request_error"
    error(client.say("hi", model=[]), 404)
    error(client.http.post(address, content=b" " * (2**20 + 1), headers=headers), 413)


def test_a_reply_that_fails_is_told_and_the_next_one_comes(serve, tmp_path):
    maker = FailingReplyMaker(RuntimeError("secret"))
    client = Client(serve, maker, tmp_path)
    told = error(client.say("hi"), 500)
    assert told["type"] == "server_error" and "secret" not in told["message"]
    error(client.say("hi", stream=True), 500)
    maker.error = PromptFormError("Roles must alternate.")
    assert error(client.say("hi"), 400)["param"] == "messages"
    maker.error = None
    assert client.say("Count to 3").status_code == 200


def test_a_program_waits_behind_the_reply_of_the_chat(serve, tmp_path):
    maker = GatedReplyMaker()
    client = Client(serve, maker, tmp_path)
    chat = client.service.new_conversation()
    client.service.say(chat.id, "Count to 3")
    maker.begun.wait(10)
    answers = []
    program = Thread(target=lambda: answers.append(client.say("Count to 4")))
    program.start()
    program.join(0.3)
    assert answers == [] and client.service.view(chat.id).running
    maker.gate.set()
    program.join(30)
    assert answers[0].status_code == 200
    assert len(client.service.view(chat.id).turns) == 2


def test_wishes_hold_for_one_reply_and_the_settings_come_back(serve, tmp_path, monkeypatch):
    maker, configured = scripted(), []
    client = Client(serve, maker, tmp_path)
    monkeypatch.setattr(maker, "configure", lambda ask, sampling: configured.append(sampling))
    client.say("hi", temperature=0, top_p=0.5, max_tokens=9_999)
    usual = client.settings.engine.sampling
    assert configured == [
        Sampling(temperature=0, top_k=usual.top_k, top_p=0.5, max_new_tokens=512),
        usual,
    ]


def test_what_is_said_is_kept_where_that_is_wished_and_can_be_rated(serve, tmp_path):
    client = Client(serve, scripted(), tmp_path, api_log=True)
    told = {"role": "system", "content": "Be brief."}
    body = client.ask(messages=[told, {"role": "user", "content": "Count to 3"}]).json()
    [chat] = client.service.shelf.list()
    assert chat.title == "Count to 3" and not chat.learn
    view = client.service.view(chat.id)
    assert view.instructions == "Be brief."
    assert view.turns[1].message.content == body["choices"][0]["message"]["content"]
    assert client.ask("feedback", id=body["id"], rating="up").json()["rating"] == "up"
    assert client.service.view(chat.id).thumbs == {view.turns[1].id: Thumb.UP}
    client.ask("feedback", id=body["id"], rating="none")
    assert client.service.view(chat.id).thumbs == {}
    for unknown in ("chatcmpl-9999", "chatcmpl-" + "9" * 30, "chatcmpl-"):
        assert error(client.ask("feedback", id=unknown, rating="up"), 404)["param"] == "id"
    for wrong in ("great", [], None):
        told = error(client.ask("feedback", id=body["id"], rating=wrong), 400)
        assert told["param"] == "rating"
    for wrong in (7, [], "é"):
        assert error(client.ask("feedback", id=wrong, rating="up"), 400)["param"] == "id"
    error(client.ask("feedback"), 400)


def test_a_program_rates_no_reply_of_the_persons_own_chats(serve, tmp_path):
    client = Client(serve, scripted(), tmp_path, api_log=True)
    chat = client.service.new_conversation()
    client.service.say(chat.id, "Count to 3")
    client.service.drain()
    reply = client.service.view(chat.id).turns[-1]
    for guess in (reply.id, chat.id, chat.key):
        error(client.ask("feedback", id=f"chatcmpl-{guess}", rating="down"), 404)
    assert client.service.view(chat.id).thumbs == {}
    kept = client.say("Count to 4").json()["id"]
    client.service.shelf.set_learn(client.service.shelf.list()[0].id, learn=True)
    error(client.ask("feedback", id=kept, rating="down"), 404)  # it would teach now


def test_the_reply_that_was_kept_is_rated_whatever_the_person_said_after_it(serve, tmp_path):
    client = Client(serve, scripted(), tmp_path, api_log=True)
    body = client.say("Count to 3").json()
    [chat] = client.service.shelf.list()
    kept = client.service.view(chat.id).turns[-1]
    client.service.say(chat.id, "Count to 4")
    client.service.drain()
    client.ask("feedback", id=body["id"], rating="up")
    assert client.service.view(chat.id).thumbs == {kept.id: Thumb.UP}


class LongReplyMaker(ScriptedReplyMaker):
    """Drafts eight words before the first is seen."""

    def __init__(self, words_per_s):
        super().__init__(ScriptedAsking.NEVER, words_per_s=words_per_s)
        self.begun = Event()

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        self.begun.set()
        return super().reply(prompt, version, seed, emit, cancel, **wishes)


def finished_within(service, seconds):
    waits = Thread(target=service.drain, daemon=True)
    waits.start()
    waits.join(seconds)
    return not waits.is_alive()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_reply(serve, tmp_path, stream):
    maker = LongReplyMaker(words_per_s=1.0)
    client = Client(serve, maker, tmp_path)
    with client.leaving():
        client.say("Count to 8", stream=stream)
    assert maker.begun.is_set()
    assert finished_within(client.service, 4)  # before the first word


def test_a_client_that_goes_away_in_the_middle_of_a_stream_ends_its_reply(serve, tmp_path):
    client = Client(serve, LongReplyMaker(words_per_s=10.0), tmp_path)
    with client.leaving():
        asked = {"messages": [{"role": "user", "content": "Count to 200"}], "stream": True}
        headers = {"authorization": f"Bearer {client.key.read()}"}
        address, patience = "/v1/chat/completions", httpx.Timeout(30)
        with client.http.stream(
            "POST", address, json=asked, headers=headers, timeout=patience
        ) as answer:
            heard = answer.iter_lines()
            assert all(next(heard) is not None for _ in range(5))
        raise httpx.ReadTimeout("enough was heard")
    assert finished_within(client.service, 8)  # the whole would take 20


def test_a_client_that_goes_away_before_its_turn_costs_nothing(serve, tmp_path):
    maker = GatedReplyMaker()
    client = Client(serve, maker, tmp_path, api_log=True)
    chat = client.service.new_conversation()
    client.service.say(chat.id, "Count to 3")
    assert maker.begun.wait(10)
    with client.leaving():
        client.say("Count to 4")
    maker.begun.clear()
    maker.gate.set()
    client.service.drain()
    assert not maker.begun.is_set()
    assert [one.id for one in client.service.shelf.list()] == [chat.id]
