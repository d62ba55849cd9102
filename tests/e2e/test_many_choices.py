"""Acceptance: three pages answer 200 questions at once, while lessons end and versions go live."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from storage.records import Choice
from tests.e2e.page import serving
from tests.e2e.test_page import lesson
from tests.storage.builders import leave, write_adapter

pytestmark = [pytest.mark.pages]

QUESTIONS = 200
PAGES = 3


def test_200_choices_at_once_are_200_rows(tmp_path):
    replies = ScriptedReplyMaker(ScriptedAsking.ALWAYS, words_per_s=0.0)
    with serving(tmp_path / "data", replies) as app:
        tokens = []
        for number in range(QUESTIONS):
            chat = app.service.new_conversation()
            app.service.say(chat.id, f"Question {number}")
            app.service.drain()
            tokens.append(app.service.view(chat.id).question.token)
        warm = app.service.choose(tokens[0], Choice.FIRST)
        with ThreadPoolExecutor(PAGES) as pages:
            # Every question is answered from two pages: the first to arrive counts, once.
            answers = [
                pages.submit(app.service.choose, token, Choice.FIRST) for token in tokens * 2
            ]
            leave(app.folder.rounds, lesson(app, [warm.preference_id]), write_adapter)
            app.service.collect_now()
            receipts = [one.result() for one in answers]
        assert all(one.choice is Choice.FIRST for one in receipts)
        assert sum(not one.already_saved for one in receipts) == QUESTIONS - 1
        stored = [*app.feedback.preferences(), *app.feedback.held_out()]
        assert len(stored) == QUESTIONS
        assert app.policies.current().id == 1
        app.feedback.verify_chain()
