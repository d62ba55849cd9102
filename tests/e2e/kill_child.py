"""``twofold serve`` with the real model and learner, and a person in place of the page.

Run as ``python -m tests.e2e.kill_child DATA``. Everything is what ``make chat`` starts; only the
page is replaced by a loop that chats and picks, and reports each acknowledged pick with one write.
"""

import os
import sys
import time
from pathlib import Path

import chat_app.ui_server as ui_server
from app import serve
from chat_app.service import ChatService
from chat_app.settings import ServeOptions, Settings
from learner.config import AskConfig, AskMode, EngineConfig, GateConfig, OnlineConfig
from storage.records import Choice, Sampling

PROMPTS = ("Hello!", "What is tea?", "Name a colour.", "Tell me a joke.", "How are you?")


READING_S = 0.7  # the learner has the processor while a person reads


def report(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def chat_for_ever(service: ChatService, *_: object, **__: object) -> None:
    report("READY")
    turn = 0
    while True:
        conversation = service.new_conversation()
        service.say(conversation.id, PROMPTS[turn % len(PROMPTS)])
        for _ in service.watch(conversation.id):
            pass
        question = service.view(conversation.id).question
        if question is not None:
            choice = Choice.FIRST if turn % 2 else Choice.SECOND
            service.choose(question.token, choice, 500)  # returns after COMMIT
            report("ACK", question.token, choice.value)
        turn += 1
        time.sleep(READING_S)


if __name__ == "__main__":
    ui_server.serve_ui = chat_for_ever
    settings = Settings(
        data=Path(sys.argv[1]),
        ask=AskConfig(mode=AskMode.ALWAYS, candidates=2, commit_after_tokens=2),
        engine=EngineConfig(sampling=Sampling(max_new_tokens=12)),
        online=OnlineConfig(
            min_preferences=3,
            max_failures=1000,
            back_off_s=0.2,
            gate=GateConfig(
                prompts=2, max_new_tokens=12, min_length_ratio=0.05, max_length_ratio=9
            ),
        ),
    )
    serve(settings, ServeOptions(open_browser=False))
