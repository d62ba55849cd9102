"""What becomes of text and numbers on their way to the page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from chat_app import wording, wording_learning
from chat_app.chart import Chart, chart_html, nice_ceiling
from chat_app.markup import displayed, headline, typed
from chat_app.progress import LearnerStatus
from chat_app.shelf import LISTED
from chat_app.ui_layout import messages_of
from chat_app.ui_learning import facts_html, lessons_html
from chat_app.ui_pair import changes
from chat_app.ui_sidebar import hint
from chat_app.views import ConversationView, DeletionView, Place, RoundView, Status
from learner.progress import LearnerState
from storage.receipts import Answered, Attempt
from storage.records import (
    AskReason,
    Candidate,
    Choice,
    Completion,
    Conversation,
    FinishReason,
    Message,
    Note,
    PolicyVersionId,
    Question,
    Role,
    RoundStatus,
    Sampling,
    Turn,
    TurnState,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def status(state=LearnerState.IDLE, *, waiting=0, missing=4):
    return Status(
        model_name="a <model>",
        live=PolicyVersionId(3),
        live_created_at=NOW - timedelta(minutes=5),
        picks=7,
        waiting=waiting,
        missing=missing,
        replies=10,
        asked=3,
        learner=None if state is None else LearnerStatus(state=state),
    )


def answered(**changes):
    return replace(
        Answered(
            id=1,
            token="a-token",  # noqa: S106
            prompt_turn_id=1,
            first_id=1,
            second_id=2,
            reason=AskReason.UNCERTAIN,
            choice=Choice.FIRST,
            counts=True,
            held_out=False,
            attempts=(),
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("What does <div> do?", "What does &lt;div> do?"),
        ("`<b>` is bold, <b>this</b> not", "`<b>` is bold, &lt;b>this&lt;/b> not"),
        ("```html\n<p>\n```\n<p>", "```html\n<p>\n```\n&lt;p>"),
        ("still streaming: ```\n<p>", "still streaming: ```\n<p>"),
        ("1 < 2", "1 &lt; 2"),
        ("no tags", "no tags"),
        ("code:\n\n    <p>\n\n      <b>\n\n<p>", "code:\n\n    <p>\n\n      <b>\n\n&lt;p>"),
        ("no code:\n    <p>\n<p>", "no code:\n    &lt;p>\n&lt;p>"),  # it goes on with the paragraph
        ("- one\n\n    <p>\n\nend", "- one\n\n    &lt;p>\n\nend"),  # and here with the item
        ("1. one\n\n\n\n    <p>\n\nend", "1. one\n\n\n\n    &lt;p>\n\nend"),
        (
            "- one\n\n      - two\n\n        <p>\n\nend",
            "- one\n\n      - two\n\n        &lt;p>\n\nend",
        ),
        ("- one\n\nend\n\n    <p>\n\n- `<p>`", "- one\n\nend\n\n    <p>\n\n- `<p>`"),
        ("- one\n\n    `<p>` <p>\n\nend", "- one\n\n    `<p>` &lt;p>\n\nend"),
        ("code:\n\n    ```\n    <p>\n\n<p>", "code:\n\n    ```\n    <p>\n\n&lt;p>"),
        ("dedented:\n\n    <p>", "dedented:\n\n&lt;p>"),  # as the component does
        ("\n    a\n\n        <p>", "a\n\n&lt;p>"),
    ],
)
def test_tags_are_shown_as_they_were_typed_and_code_is_left_alone(text, shown):
    assert displayed(text) == shown


def test_the_question_says_why_it_is_asked():
    question = Question(
        reason=AskReason.UNCERTAIN, propensity=1.0, disagreement=0.21, first_better_prob=0.57
    )
    assert wording.why_asked(question) == (
        "I am unsure which one you like better. My judges disagree by ±21 points about these two."
    )


@pytest.mark.parametrize("reason", AskReason)
def test_every_reason_to_ask_has_a_sentence_that_favours_none_of_the_two(reason):
    question = Question(reason=reason, propensity=1.0, disagreement=0.2, first_better_prob=0.9)
    assert ("±20" in wording.why_asked(question)) == reason.asked
    other = replace(question, first_better_prob=0.1)
    assert wording.why_asked(question) == wording.why_asked(other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (status(missing=2), "2 more choices until the next lesson"),
        (status(missing=1), "1 more choice until the next lesson"),
        (status(waiting=4, missing=0), "the next lesson is about to start"),
        (status(LearnerState.LEARNING, waiting=4), "learning from 4 choices"),
        (status(LearnerState.LEARNING, waiting=400), "learning from 32 choices"),
        (status(LearnerState.PAUSED, waiting=1), "learning is paused, 1 choice waiting"),
        (status(None, waiting=1), "1 choice saved, learning is off"),
    ],
)
def test_the_status_line_says_what_the_next_lesson_waits_for(given, said):
    assert wording.lesson_line(given) == said


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=3, minutes=5), "3 hours ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_ages_are_said_in_their_largest_unit(ago, said):
    assert wording.age(NOW - ago, NOW) == said


def test_what_comes_from_elsewhere_is_escaped_in_the_learning_tab():
    lesson = RoundView(
        number=1,
        status=RoundStatus.FAILED,
        reason="<img src=x onerror=alert(1)>",
        picks=4,
        seconds=3.0,
        kl_per_token=None,
        mean_length_tokens=None,
    )
    assert "<img" not in lessons_html([lesson])
    assert "No lesson yet" in lessons_html([])
    facts = facts_html(wording_learning.facts(status(), 5, NOW))
    assert "30 %" in facts and "3 in 10 replies" in facts and "5 learned from" in facts


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.2, 2), (49, 50), (51, 100), (730, 1000)]
)
def test_an_axis_ends_at_a_round_number_that_is_not_below_its_points(value, top):
    assert nice_ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_chart_is_drawn_from_its_first_point_on(count):
    points = [(number, 50.0) for number in range(1, count + 1)]
    chart = Chart(title="T.", sentence="<s>", x="picks", unit="%", points=points, top=100)
    html = chart_html(chart)
    assert f"T.: 50 % after {count} picks" in html and "&lt;s&gt;" in html
    assert html.count("<circle") == (count if count < 30 else 1)


@pytest.mark.parametrize(
    ("version", "finish", "state", "mark"),
    [
        (0, FinishReason.STOP, TurnState.FINAL, ""),
        (3, FinishReason.STOP, TurnState.FINAL, "version 3"),
        (0, FinishReason.LENGTH, TurnState.FINAL, "cut at the length limit"),
        (3, FinishReason.ABORTED, TurnState.ABORTED, "version 3, stopped here"),
    ],
)
def test_a_reply_says_who_wrote_it_and_why_it_ends_where_it_does(version, finish, state, mark):
    now = datetime.now(UTC)
    turn = Turn(
        id=1,
        conversation_id=1,
        parent_id=None,
        message=Message(role=Role.ASSISTANT, content="Hello."),
        state=state,
        candidate_id=7,
        created_at=now,
    )
    completion = Completion(
        text="Hello.",
        token_ids=(1,),
        logprobs=(-1.0,),
        finish_reason=finish,
        policy_version=PolicyVersionId(version),
        seed=0,
        sampling=Sampling(),
    )
    view = ConversationView(
        conversation=Conversation(
            id=1, key="k" * 22, title="", started_at=now, learn=True, held_out=False
        ),
        mark="",
        instructions="",
        turns=(turn,),
        replies=Place(),
        branches=Place(),
        thumbs={},
        labels={},
        answers={},
        note=Note(),
        written={7: Candidate(id=7, prompt_turn_id=1, completion=completion)},
        suggestion=None,
        example=None,
        question=None,
        running=False,
        interrupted=False,
        failed=None,
        notices=(),
    )
    [message] = messages_of(view)
    assert message["content"] == "Hello."  # what is said of a reply is never part of it
    assert wording.reply_mark(view) == mark


@pytest.mark.parametrize(
    "text",
    [
        "a <b> c",
        "`<b>` and <i>",
        "```\n<p>\n``` <p>",
        "1 < 2",
        "plain",
        "a <b>\n\n    <p>\n\n- <p>\n\n    <p>\n\nend",
    ],
)
def test_what_is_edited_is_what_was_said(text):
    assert typed(displayed(text)) == text


def test_a_change_of_a_reply_is_told_word_by_word():
    parts = changes("the sky is blue\n\ntoday", "the sky is deep blue\n\nnow")
    assert parts == [
        ("the sky is ", None),
        ("deep ", "added"),
        ("blue\n\n", None),
        ("today", "left out"),
        ("now", "added"),
    ]
    assert changes("same", "same") == [("same", None)]
    assert changes("", "") == []


LEARNED = Attempt(round=2, status=RoundStatus.ACCEPTED, live=True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "It is in the queue; 4 more choices start a lesson."),
        ({"attempts": (LEARNED,)}, "Learned in version 2, live."),
        (
            {"attempts": (replace(LEARNED, live=False),)},
            "Learned in version 2, which is not live now: it waits again.",
        ),
        (
            {"attempts": (replace(LEARNED, status=RoundStatus.REFUSED, live=False),)},
            "Tried in lesson 2, not kept yet: it comes back with the next one.",
        ),
        ({"choice": Choice.SKIP}, "It teaches nothing."),
        ({"choice": Choice.WITHDRAWN, "counts": False}, "It teaches nothing."),
        ({"choice": Choice.TIE}, "My judges know it from the next reply on."),
        ({"counts": False}, "It is kept and not learned from."),
        ({"counts": False, "reason": AskReason.EDITED}, "I read it in a moment."),
    ],
)
def test_a_receipt_says_what_became_of_a_pick(answer, said):
    assert wording.receipt(answered(**answer), status()) == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "learning is off"),
        (LearnerState.PAUSED, "learning is paused"),
        (LearnerState.HELD, "learning is paused"),
        (LearnerState.LEARNING, "a lesson is running"),
        (LearnerState.IDLE, "a lesson is about to start"),
    ],
)
def test_a_receipt_of_a_waiting_pick_says_what_it_waits_for(state, said):
    waiting = wording.receipt(answered(), status(state, missing=0))
    assert waiting == f"It is in the queue; {said}."


@pytest.mark.parametrize("state", [None, *LearnerState])
@pytest.mark.parametrize("missing", [0, 4])
def test_whatever_the_learner_does_a_receipt_is_a_sentence(state, missing):
    assert wording.receipt(answered(), status(state, missing=missing)).endswith(".")


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.TIE, Choice.BOTH_BAD])
def test_a_held_out_pick_says_that_it_only_checks(choice):
    told = wording.receipt(answered(held_out=True, choice=choice), status())
    assert "only checks what I learned" in told


def test_a_name_is_told_letter_by_letter_where_a_chat_is_deleted():
    title = "Use <section> or **bold** & [a](b) _so_ 1. `x`"
    told = wording.deletion(DeletionView(title=title, messages=2, choices=1, versions=()))
    assert unescape(told).startswith(f"Delete “{title}”?")
    assert not set("<*[]_`") & set(told)


def test_a_message_is_a_heading_where_it_is_one_line():
    assert headline("Why <b> is it?", "The message") == "## Why &lt;b> is it?"
    code = "```html\n<div>\n```\nWhat is it?"
    assert headline(code, "The message") == f"## The message\n\n{code}"
    assert headline("```<div>", "The message").startswith("## The message\n\n```<div>")


def test_where_there_are_older_chats_than_are_listed_the_list_says_so():
    assert hint(0, "") == hint(LISTED, "") == hint(LISTED, "tea") == ""
    assert hint(0, "tea").startswith("No chat has")
    assert "For older ones, search for a word" in hint(LISTED + 1, "")


def test_earlier_choices_are_counted():
    picks = [answered(), answered(attempts=(LEARNED,)), answered(choice=Choice.SKIP)]
    assert wording.earlier_choices(picks) == "Earlier choices here: 1 learned, 1 waiting."
    assert wording.earlier_choices([answered(choice=Choice.TIE)]) == ""


@pytest.mark.parametrize(
    ("versions", "tail"),
    [
        ((), "learn from next."),
        ((3,), "Version 3 learned from it, or after it."),
        ((3, 4), "Versions 3, 4 learned from it, or after it."),
    ],
)
def test_deleting_says_what_goes(versions, tail):
    view = DeletionView(title="Tea", messages=2, choices=1, versions=versions)
    sentence = wording.deletion(view)
    assert sentence.startswith("Delete “Tea”? 2 messages and 1 choice go for good")
    assert sentence.endswith(tail)
