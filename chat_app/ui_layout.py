"""The parts of the Chat tab and how a view of a conversation is drawn on them.

Drawing is stateless: whatever the page showed before, after ``draw`` it shows this conversation.
``draw_draft`` is what moves while a reply is written, and ``note`` says why a wish was not met.
"""

import json
from typing import Any

import gradio as gr

from chat_app import wording, wording_teach
from chat_app.dialogue import teaches
from chat_app.language import N_, tr
from chat_app.markup import displayed
from chat_app.revisions import with_key
from chat_app.ui_chat_bar import ChatBar
from chat_app.ui_labels import LabelFold
from chat_app.ui_pair import PairPanel
from chat_app.ui_parts import Update, hidden, line, show
from chat_app.ui_reply_bar import ReplyBar
from chat_app.ui_sidebar import SidebarLayout
from chat_app.ui_teach import TeachPanel
from chat_app.views import ConversationView, Status
from learner.protocols import Draft
from storage.records import FinishReason, Message, Role, Thumb, TurnState

Messages = list[dict[str, str]]

WELCOME = N_(
    "I start out knowing little about you. When I am unsure I show two replies; "
    "pick one and I learn from it, on this computer only."
)
EXAMPLES = (
    N_("Why is the sky blue?"),
    N_("Give me three ideas for a rainy Sunday."),
    N_("Write a short thank-you note to a neighbour."),
)
THUMBS = {Thumb.UP: "Like", Thumb.DOWN: "Dislike"}


class ChatLayout:
    """Create it, ``sidebar`` and ``body`` inside a Blocks, in the order they shall stand."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates

    def sidebar(self) -> None:
        self.list = SidebarLayout()

    def body(self) -> None:
        self.key = hidden("conversation-key")
        self.address = hidden("address-key")  # the key, unless the chat is temporary
        self.seen = hidden("seen")
        self.turns = hidden("shown-turns")
        self.begun = hidden("edit-begun")  # where the message that is edited stands (page.js)
        self.left = hidden("left-key")  # the chat that this page has just turned away from
        self.sending = hidden("sending")
        self.sent = hidden("sent")  # which message was taken, or refused (page.js)
        self.turn_back = gr.Button("", visible="hidden", elem_id="turn-back")
        self.sync = gr.Button("Look for news", visible="hidden", elem_id="sync")
        self.listen = gr.Button("Listen", visible="hidden", elem_id="listen")
        self.bar = ChatBar()
        self.transcript = gr.Chatbot(
            label=tr("Conversation"),
            show_label=False,
            elem_id="transcript",
            height=None,
            layout="bubble",
            buttons=["copy"],
            editable="all",
            feedback_options=("Like", "Dislike"),
            placeholder=tr(WELCOME),
            examples=[{"text": tr(example)} for example in EXAMPLES],
            allow_tags=False,
            group_consecutive_messages=False,
            autoscroll=False,
        )
        self.notices = gr.Markdown(visible=False, elem_id="notices")
        self.stage = gr.Markdown(visible=False, elem_id="stage")
        self.pair = PairPanel()
        self.reply = ReplyBar()
        self.labels = LabelFold()
        self.teach = TeachPanel()
        with gr.Row(visible=False, elem_id="problem-row", elem_classes="strip") as self.problem_row:
            self.problem = gr.Markdown("", elem_id="problem")
            self.go_on = gr.Button(
                tr("Continue"), elem_id="continue", size="sm", min_width=90, scale=0
            )
            self.retry = gr.Button(tr("Retry"), elem_id="retry", size="sm", min_width=90, scale=0)
        self._composer()

    def _composer(self) -> None:
        with gr.Column(elem_id="composer"):
            self.note = gr.Markdown(visible=False, elem_id="note")
            with gr.Row(elem_id="composer-row"):
                self.box = gr.Textbox(
                    label=tr("Message"),
                    show_label=False,
                    placeholder=tr("Message the assistant"),
                    lines=1,
                    max_lines=12,
                    autofocus=True,
                    container=False,
                    scale=1,
                    elem_id="message",
                )
                self.send = gr.Button(
                    tr("Send"), variant="primary", elem_id="send", min_width=90, scale=0
                )
                self.stop = gr.Button(
                    tr("Stop  [Esc]"), visible=False, elem_id="stop", min_width=120, scale=0
                )

    @property
    def drawn(self) -> list[Any]:
        """Every part that ``draw`` may name, besides the message box."""
        return [
            self.key,
            self.address,
            self.seen,
            self.turns,
            *self.bar.drawn,
            self.transcript,
            self.notices,
            self.stage,
            *self.pair.drawn,
            *self.reply.drawn,
            *self.labels.drawn,
            *self.teach.drawn,
            self.problem_row,
            self.problem,
            self.go_on,
            self.note,
            self.send,
            self.stop,
        ]

    @property
    def moving(self) -> list[Any]:
        """Every part that ``draw_draft`` and ``draw_suggestion`` may name.

        Few, since Gradio builds each of them anew for every update, changed or not.
        """
        return [self.stage, self.transcript, *self.pair.moving, *self.teach.moving]

    def draw(
        self,
        view: ConversationView | None,
        status: Status,
        *,
        mark: str,
        note: str = "",
    ) -> Update:
        """The conversation as it is; ``view`` None is one that has not begun.

        ``mark`` (revisions.py) says what this page has seen then; the list of chats follows it by
        itself.
        """
        key = view.conversation.key if view else ""
        temporary = view is not None and view.conversation.temporary
        problem = view and problem_of(view)
        teaching = view is not None and teaches(view.conversation)
        return {
            self.key: key,
            self.address: "" if temporary else key,
            self.seen: with_key(mark, key),
            self.turns: json.dumps([turn.id for turn in view.turns] if view else []),
            **self.bar.draw(view),
            self.transcript: gr.update(
                value=messages_of(view) if view else [],
                feedback_value=_thumbs(view) if view else [],
            ),
            self.notices: line(" ".join(view.notices) if view else ""),
            self.stage: line(""),
            **self.pair.draw(view.question if view else None),
            **self.reply.draw(view, status),
            **self.labels.draw(view),
            **self.teach.draw(view),
            self.problem_row: show(visible=bool(problem)),
            self.problem: problem or "",
            self.go_on: show(visible=view is not None and cut_off(view)),
            self.note: line(note),
            **self.draw_buttons(
                running=view is not None and view.running, teaching=view if teaching else None
            ),
        }

    def filled_in(self, update: Update, saved: str) -> list[Any]:
        """The reasons a person fills in, where the page shows those of ``saved`` and still will.

        Of another answer the update says what is to be there. page.js keeps a better reply.
        """
        return self.reply.note if update.get(self.reply.token) == saved else []

    def unfinished(self, update: Update, *, changing: bool, saved: str) -> list[Any]:
        """What a person may be filling in: news from elsewhere must not close or empty it."""
        bar, pair = self.bar, self.pair
        kept = [*bar.rows, *self.filled_in(update, saved)]
        kept.append(self.note)  # a word about what this person did, which they may not have read
        if changing:
            return [*kept, *pair.drawn]
        return [*kept, pair.editor, pair.begun] if update.get(pair.token) else kept

    def draw_buttons(self, *, running: bool, teaching: ConversationView | None = None) -> Update:
        """In a teaching chat nobody has to wait for a suggestion."""
        label = wording_teach.send_label(teaching) if teaching else tr("Send")
        return {
            self.send: gr.update(visible=not running or teaching is not None, value=label),
            self.stop: show(visible=running),
        }

    def draw_note(self, sentence: str) -> Update:
        return {self.note: line(sentence)}

    def draw_suggestion(self, draft: Draft) -> Update:
        """What moves while a suggestion is written in a teaching chat."""
        return {self.stage: line(tr(wording_teach.SUGGESTING)), **self.teach.draw_draft(draft)}

    def draw_draft(self, before: Messages, draft: Draft, *, begun: bool) -> Update:
        """What moves while a reply is written under the messages ``before``, after ``draw``.

        ``begun``: the draft before this one had texts, too, so the rest of the page is right.
        """
        update: Update = {self.stage: line(wording.stage_line(draft, self._candidates))}
        if len(draft.texts) == 1:
            reply = Message(role=Role.ASSISTANT, content=draft.texts[0])
            update[self.transcript] = gr.update(value=[*before, _message(reply)])
            update[self.pair.panel] = show(visible=False)
        if len(draft.texts) == 2:
            update |= self.pair.draw_draft(draft, begun=begun)
        return update


def messages_of(view: ConversationView) -> Messages:
    return [_message(turn.message) for turn in view.turns]


def problem_of(view: ConversationView) -> str:
    """Why another try may be wanted, or an empty string."""
    if view.running or view.question is not None:
        return ""
    if view.failed:
        return view.failed
    if teaches(view.conversation):
        return ""
    if view.interrupted:
        return tr("This reply was interrupted.")
    if not view.turns:
        return ""
    if view.turns[-1].state is TurnState.ABORTED:
        return tr("This reply was stopped before its end.")
    if cut_off(view):
        return tr("This reply was cut at the length limit.")
    return ""


def cut_off(view: ConversationView) -> bool:
    """Whether the last reply can be written on."""
    last = view.turns[-1] if view.turns else None
    if teaches(view.conversation):
        return False
    if last is None or last.candidate_id is None or not last.message.content.strip():
        return False
    finish = view.written[last.candidate_id].completion.finish_reason
    return finish in (FinishReason.ABORTED, FinishReason.LENGTH)


def _thumbs(view: ConversationView) -> list[str | None]:
    """One for each reply, as the Chatbot wants them."""
    return [
        THUMBS.get(view.thumbs.get(turn.id, Thumb.NONE))
        for turn in view.turns
        if turn.message.role is Role.ASSISTANT
    ]


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role.value, "content": displayed(message.content)}
