"""The parts of the Chat tab and how a view of a conversation is drawn on them.

Drawing is stateless: whatever the page showed before, after ``draw`` it shows this conversation,
and after ``draw_answer`` what came of the last wish. ``draw_draft`` is what moves while a reply is
written.
"""

from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.markup import displayed
from chat_app.views import ConversationView
from learner.protocols import Draft
from storage.records import (
    BASE_VERSION,
    Choice,
    Comparison,
    Conversation,
    FinishReason,
    Message,
    Role,
    Turn,
    TurnState,
)

Update = dict[Any, Any]
"""Component to its new value; components not named keep theirs."""
Messages = list[dict[str, str]]

WELCOME = (
    "I start out knowing little about you. When I am unsure I show two replies; "
    "pick one and I learn from it, on this computer only."
)
EXAMPLES = (
    "Why is the sky blue?",
    "Give me three ideas for a rainy Sunday.",
    "Write a short thank-you note to a neighbour.",
)
KEYS = "The keys work outside of the message box (Esc leaves it); Alt+1 and Alt+2 work everywhere."
HIDDEN = "hidden"  # in the page, unseen, where the browser keeps it; False would leave it out


class ChatLayout:
    """Create it, ``sidebar`` and ``body`` inside a Blocks, in the order they shall stand."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates

    def sidebar(self) -> None:
        with gr.Sidebar(label="Conversations", width=264, elem_id="sidebar"):
            self.new = gr.Button("New chat", elem_id="new-chat", size="md")
            self.chats = gr.Radio(
                choices=[], label="Conversations", container=False, elem_id="conversations"
            )

    def body(self) -> None:
        self.key = gr.Textbox(visible=HIDDEN, elem_id="conversation-key")
        self.token = gr.Textbox(visible=HIDDEN, elem_id="question-token")
        self.saved_token = gr.Textbox(visible=HIDDEN, elem_id="saved-token")
        self.transcript = gr.Chatbot(
            label="Conversation",
            show_label=False,
            elem_id="transcript",
            height=None,
            layout="bubble",
            buttons=["copy"],
            placeholder=WELCOME,
            examples=[{"text": example} for example in EXAMPLES],
            allow_tags=False,
            group_consecutive_messages=False,
            autoscroll=False,
        )
        self.notices = gr.Markdown(visible=False, elem_id="notices")
        self.stage = gr.Markdown(visible=False, elem_id="stage")
        self._pair()
        with gr.Row(visible=False, elem_id="saved-row", elem_classes="strip") as self.saved_row:
            self.saved = gr.Markdown("", elem_id="saved")
            self.undo = gr.Button("Undo  [U]", elem_id="undo", size="sm", min_width=90, scale=0)
        with gr.Row(visible=False, elem_id="problem-row", elem_classes="strip") as self.problem_row:
            self.problem = gr.Markdown("", elem_id="problem")
            self.retry = gr.Button("Retry", elem_id="retry", size="sm", min_width=90, scale=0)
        self._composer()

    def _pair(self) -> None:
        with gr.Column(visible=False, elem_id="pair") as self.pair:
            self.pair_title = gr.Markdown("", elem_id="pair-title")
            self.why = gr.Markdown("", elem_id="why")
            with gr.Row(elem_id="pair-row"):
                self.first, self.first_better = _pane(1)
                self.second, self.second_better = _pane(2)
            with gr.Row(elem_id="pair-more"):
                self.tie = gr.Button("About the same  [0]", elem_id="choose-tie", size="md")
                self.both_bad = gr.Button("Both are bad  [9]", elem_id="choose-both-bad", size="md")
                self.skip = gr.Button("Skip  [S]", elem_id="choose-skip", size="md")
            gr.Markdown(KEYS, elem_id="pair-keys")
        self.choices = {
            self.first_better: Choice.FIRST,
            self.second_better: Choice.SECOND,
            self.tie: Choice.TIE,
            self.both_bad: Choice.BOTH_BAD,
            self.skip: Choice.SKIP,
        }

    def _composer(self) -> None:
        with gr.Column(elem_id="composer"):
            self.note = gr.Markdown(visible=False, elem_id="note")
            with gr.Row(elem_id="composer-row"):
                self.box = gr.Textbox(
                    label="Message",
                    show_label=False,
                    placeholder="Message the assistant",
                    lines=1,
                    max_lines=12,
                    autofocus=True,
                    container=False,
                    scale=1,
                    elem_id="message",
                )
                self.send = gr.Button(
                    "Send", variant="primary", elem_id="send", min_width=90, scale=0
                )
                self.stop = gr.Button(
                    "Stop  [Esc]", visible=False, elem_id="stop", min_width=90, scale=0
                )

    @property
    def drawn(self) -> list[Any]:
        """Every part that ``draw`` and ``draw_draft`` may name, besides the message box."""
        return [
            self.key,
            self.token,
            self.saved_token,
            self.chats,
            self.transcript,
            self.notices,
            self.stage,
            self.pair,
            self.pair_title,
            self.why,
            self.first,
            self.second,
            *self.choices,
            self.saved_row,
            self.saved,
            self.undo,
            self.problem_row,
            self.problem,
            self.retry,
            self.note,
            self.send,
            self.stop,
        ]

    def draw(self, view: ConversationView | None, chats: list[Conversation]) -> Update:
        """The conversation as it is; ``view`` None is one that has not begun."""
        key = view.conversation.key if view else ""
        running = view is not None and view.running
        problem = view and problem_of(view)
        return {
            self.key: key,
            self.chats: gr.update(
                choices=[(chat.title or "New chat", chat.key) for chat in chats], value=key or None
            ),
            self.transcript: messages_of(view) if view else [],
            self.notices: _line(" ".join(view.notices) if view else ""),
            self.stage: _line(""),
            **self._draw_question(view.question if view else None),
            self.problem_row: gr.update(visible=bool(problem)),
            self.problem: problem or "",
            **self._draw_buttons(running=running),
        }

    def _draw_buttons(self, *, running: bool) -> Update:
        return {
            self.send: gr.update(visible=not running),
            self.stop: gr.update(visible=running),
        }

    def _draw_question(self, question: Comparison | None) -> Update:
        if question is None:
            return {self.pair: gr.update(visible=False), self.token: ""}
        return {
            self.pair: gr.update(visible=True),
            self.pair_title: "## Which reply do you prefer?",
            self.token: question.token,
            self.why: wording.why_asked(question.question),
            self.first: displayed(question.first.completion.text),
            self.second: displayed(question.second.completion.text),
            **{button: gr.update(interactive=True) for button in self.choices},
        }

    def draw_draft(self, before: Messages, draft: Draft) -> Update:
        """What moves while a reply is written under the messages ``before``."""
        update: Update = {
            self.stage: _line(wording.stage_line(draft, self._candidates)),
            **self._draw_buttons(running=True),
        }
        if len(draft.texts) == 1:
            update[self.transcript] = [
                *before,
                _message(Message(role=Role.ASSISTANT, content=draft.texts[0])),
            ]
        if len(draft.texts) == 2:
            update |= {
                self.pair: gr.update(visible=True),
                self.pair_title: "## Writing two replies…",
                self.why: "You can pick one when both are complete.",
                self.first: displayed(draft.texts[0]),
                self.second: displayed(draft.texts[1]),
                **{button: gr.update(interactive=False) for button in self.choices},
            }
        return update

    def draw_answer(self, *, note: str = "", saved: str = "", token: str = "") -> Update:
        """What came of the person's last wish: ``note`` says why it could not be met.

        ``saved`` is the line after a choice, with an undo where there is a ``token``.
        """
        return {
            self.note: _line(note),
            self.saved_row: gr.update(visible=bool(saved)),
            self.saved: saved,
            self.undo: gr.update(visible=bool(token)),
            self.saved_token: token,
        }


def messages_of(view: ConversationView) -> Messages:
    return [_message(turn.message, _mark(turn, view)) for turn in view.turns]


def problem_of(view: ConversationView) -> str:
    """Why another try may be wanted, or an empty string."""
    if view.running or view.question is not None:
        return ""
    if view.failed:
        return view.failed
    if view.interrupted:
        return "This reply was interrupted."
    if not view.turns:
        return ""
    if view.turns[-1].state is TurnState.ABORTED:
        return "This reply was stopped before its end."
    return ""


def _message(message: Message, mark: str = "") -> dict[str, str]:
    text = displayed(message.content)
    return {"role": message.role.value, "content": f"{text}\n\n*({mark})*" if mark else text}


def _mark(turn: Turn, view: ConversationView) -> str:
    """What a person should know of a reply: who wrote it, and why it ends where it does."""
    if turn.candidate_id is None:
        return ""
    completion = view.written[turn.candidate_id].completion
    marks = []
    if completion.policy_version != BASE_VERSION:
        marks.append(f"version {completion.policy_version}")
    if turn.state is TurnState.ABORTED:
        marks.append("stopped here")
    elif completion.finish_reason is FinishReason.LENGTH:
        marks.append("cut at the length limit")
    return ", ".join(marks)


def _line(sentence: str) -> Update:
    return gr.update(value=sentence, visible=bool(sentence))


def _pane(number: int) -> tuple[gr.Markdown, gr.Button]:
    with gr.Column(min_width=260, elem_id=f"pane-{number}", elem_classes="pane"):
        gr.Markdown(f"### Reply {number}", elem_id=f"pane-{number}-title")
        text = gr.Markdown("", elem_id=f"reply-{number}", elem_classes="reply", line_breaks=True)
        button = gr.Button(
            f"Reply {number} is better  [{number}]",
            variant="primary",
            elem_id=f"choose-{number}",
            size="md",
        )
    return text, button
