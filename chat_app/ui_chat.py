"""The Chat tab's events about conversations, messages and replies.

The page holds nothing that matters: hidden boxes carry the key of the conversation and the token
of the question, all else comes from ``ChatService.view``. So a reload, a second tab or a restarted
server find the same picture. Handlers answer at once; a generator of its own (``watch``) then
follows the reply, and ``end`` draws what came of it. Leaving a conversation ends that generator,
never the reply; one that is lost on the way is begun anew by page.js.
"""

import json
from collections.abc import Iterator

import gradio as gr

from chat_app.dialogue import teaches
from chat_app.errors import ChatError
from chat_app.language import N_, tr
from chat_app.markup import typed
from chat_app.ranking import ANSWERS
from chat_app.revisions import with_key
from chat_app.service import ChatService
from chat_app.ui_choices import ChoiceEvents
from chat_app.ui_labels import LabelEvents
from chat_app.ui_layout import ChatLayout, messages_of
from chat_app.ui_page import PageDrawing
from chat_app.ui_parts import EACH, LAST, QUIET, STREAM, Update
from chat_app.ui_shelf import ShelfEvents
from chat_app.ui_teach_events import TeachEvents
from learner.protocols import Stage
from storage.records import Purpose, Role, Thumb, TurnId

READ_KEY = "() => new URLSearchParams(location.search).get('c') ?? ''"
WRITE_KEY = "(key) => { window.twofold.showKey(key) }"
# From here on the page is in the other chat, whatever the server still has to say of this one.
BEGIN = "(key) => { window.twofold.turned(''); window.twofold.focusBox(); return [key, ''] }"
TURN = "(key, chat) => window.twofold.turn(key, chat)"
TURN_BACK = "(key) => window.twofold.turnBack(key)"
EDITED = "(turns, key) => window.twofold.editBegun(turns, key)"
TAKE = "(...message) => window.twofold.take(...message)"
SENT = "(sent) => { window.twofold.answered(sent) }"
UNSENT = "() => { window.twofold.giveBack() }"
BEGUN_ELSEWHERE = N_(
    "This edit was begun in another chat, and nothing was changed. Open that chat and press the "
    "pencil there again: your text comes back."
)
ANSWERED_ELSEWHERE = N_(
    "This question was answered on another page. What you wrote is kept: press the pencil under "
    "the reply to go on with it."
)
OPEN_RANK = "(refused) => { if (!refused) window.twofold.openTab('rank') }"


class ChatPage:
    def __init__(self, service: ChatService, layout: ChatLayout) -> None:
        self._service = service
        self._layout = layout
        self._page = PageDrawing(service, layout)

    def bind(self, page: gr.Blocks) -> None:
        parts, page_ = self._layout, self._page
        draws = QUIET | {"outputs": parts.drawn}
        streams = STREAM | {"outputs": parts.moving}

        opened = page.load(self.arrive, parts.key, js=READ_KEY, **draws)
        sent = gr.on(
            [parts.box.submit, parts.send.click],
            self.say,
            [parts.box, parts.sending, *parts.bar.wishes, parts.key],
            [parts.sent, *parts.drawn],
            js=TAKE,
            **EACH,
        )
        sent.then(None, [parts.sent], None, js=SENT)
        sent.failure(None, None, None, js=UNSENT)
        example = parts.transcript.example_select(
            self.say_example, [*parts.bar.wishes, parts.key], **draws
        )
        retried = gr.on(
            [parts.retry.click, parts.transcript.retry], self.write_again, parts.key, **draws
        )
        goes_on = parts.go_on.click(self.go_on, parts.key, **draws)
        edited = parts.transcript.edit(
            self.edit, [parts.turns, parts.key, parts.begun], js=EDITED, **draws
        )
        pair = parts.pair
        unfinished = [pair.changing, pair.token, pair.begun, pair.text]
        unfinished += [parts.labels.which, parts.reply.token, parts.key]
        teaching = TeachEvents(
            self._service, parts.teach, page_, box=parts.box, key=parts.key, draws=draws
        ).bind()
        news = parts.sync.click(self.catch_up, unfinished, parts.drawn, **LAST)
        watching = [
            event.then(self.watch, parts.key, **streams)
            for event in (opened, sent, example, retried, goes_on, edited, teaching, news)
        ]
        watching.append(parts.listen.click(self.watch, parts.key, **streams))
        # First let go of the reply that is followed, then draw something else: what is still on
        # its way to the page would be drawn over it. A listener cannot cancel what comes after
        # itself, so a second one lets go of what an earlier choice in the list began to follow.
        turning = {"outputs": [parts.left, parts.key], "cancels": watching}
        ways = ((parts.list.chats.input, TURN), (parts.turn_back.click, TURN_BACK))
        for way, js in ways:
            picked = way(None, [parts.key, parts.list.chats], js=js, **turning)
            selected = picked.then(self.open, [parts.key, parts.left], parts.drawn, **EACH)
            watching.append(selected.then(self.watch, parts.key, **streams))
        gr.on([way for way, _ in ways], None, cancels=watching[-len(ways) :])
        left = parts.list.new.click(None, [parts.key], js=BEGIN, **turning)
        left.then(self.open_new, parts.left, parts.drawn, **EACH)
        for reply in watching:
            reply.then(self.end, [parts.seen, *unfinished], parts.drawn, **EACH)

        beside = [parts.reply.token, parts.key]
        parts.transcript.like(self.rate, [parts.turns, *beside], parts.drawn, **EACH)
        parts.reply.rank.click(self.rank_more, parts.key, **draws).then(
            None, [parts.note], None, js=OPEN_RANK
        )
        parts.stop.click(self.end_reply, [parts.key], None, **QUIET)
        for pager in (parts.reply.replies, parts.reply.branches):
            for button, turn in (
                (pager.before, pager.before_turn),
                (pager.after, pager.after_turn),
            ):
                button.click(self.show, [turn, parts.key], parts.drawn, **LAST)
        parts.address.change(None, [parts.address], None, js=WRITE_KEY)
        page.unload(page_.closed)
        ChoiceEvents(self._service, parts, page_).bind()
        LabelEvents(
            self._service,
            parts.labels,
            key=parts.key,
            turns=parts.turns,
            seen=parts.seen,
            note=parts.note,
        ).bind()
        ShelfEvents(self._service, parts, page_).bind(watching)

    # --- Opening -----------------------------------------------------------------------------

    def arrive(self, key: str, request: gr.Request) -> Update:
        """A page was loaded; somebody quick may have said something on it already."""
        self._page.arrived(key, request)
        return self._page.drawn(key, request) if key else self._page.empty(request)

    def open(self, key: str, left: str, request: gr.Request) -> Update:
        self._page.turned_to(key, request)
        self._page.leave(left, now=key)
        return self._page.drawn(key, request) if key else self._page.empty(request)

    def open_new(self, left: str, request: gr.Request) -> Update:
        """An empty chat; it becomes a conversation with its first message."""
        return self.open("", left, request)

    def watch(self, key: str, request: gr.Request) -> Iterator[Update]:
        """Follow the reply being written, if any, while the page shows it.

        The newest such event of a page is its only one: an older one may be heard by nobody.
        """
        following = self._page.begin_to_follow(request)
        try:
            conversation_id = self._page.id(key)
        except ChatError:  # an empty chat, or one that was deleted meanwhile
            yield gr.skip()  # Gradio empties every output of a generator that never yields
            return
        view = self._service.view(conversation_id)
        before, teaching = messages_of(view), teaches(view.conversation)
        places = 0  # of the draft before: 1 is a reply, 2 are a pair
        for draft in self._service.watch(conversation_id):
            if not (self._page.shows(key, request) and self._page.follows(following, request)):
                break
            if draft.stage is not Stage.DONE:
                begun = 0 < places == len(draft.texts)
                yield (
                    self._layout.draw_suggestion(draft)
                    if teaching
                    else self._layout.draw_draft(before, draft, begun=begun)
                )
                places = len(draft.texts)
        if not places:
            yield gr.skip()

    def end(
        self,
        seen: str,
        changing: str,
        token: str,
        begun: str,
        text: str,
        which: str,
        saved: str,
        key: str,
        request: gr.Request,
    ) -> Update:
        """What came of the reply that was followed.

        ``seen`` is what the page was drawn from: where nothing is new, nothing is drawn.
        """
        if not self._service.revisions.news(seen, key)["chat"]:
            return gr.skip()
        return self.catch_up(changing, token, begun, text, which, saved, key, request)

    def catch_up(
        self,
        changing: str,
        token: str,
        begun: str,
        text: str,
        which: str,
        saved: str,
        key: str,
        request: gr.Request,
    ) -> Update:
        """Something changed on another page, in the learner or by another command.

        What the person has unfolded and not finished stays as it is: ``text`` is the better reply
        that they write to the question of ``token``, from ``begun`` on, ``which`` the earlier
        reply whose labels they look at, and ``saved`` names the answer whose reasons they see.
        """
        if not key:  # the wishes for an empty chat stay as they are
            return {self._layout.seen: with_key(self._service.revisions.mark(None), key)}
        update = self._page.drawn(key, request)
        if self._layout.seen not in update or not update[self._layout.key]:
            return update
        if which:
            update |= self._layout.labels.draw(self._service.view(self._page.id(key)), which)
        kept = self._page.without_unfinished(update, changing=bool(changing), saved=saved)
        if begun and update[self._layout.pair.token] != token:
            question = self._service.question(token)
            if self._layout.pair.is_typed(text, begun, question):
                kept |= self._layout.draw_note(tr(ANSWERED_ELSEWHERE))
        return kept

    # --- Messages ----------------------------------------------------------------------------

    def say(
        self,
        text: str,
        sending: str,
        learn: bool,
        temporary: bool,
        teach: bool,
        instructions: str,
        key: str,
        request: gr.Request,
    ) -> Update:
        """``sending`` is the number that the page gave the message."""
        if not text:  # the second of two quick Enters
            return {self._layout.sent: gr.skip()}
        try:
            key = self._say(text, learn, temporary, teach, instructions, key, request)
        except ChatError as error:
            return {self._layout.sent: f"{sending} refused {key}"} | self._layout.draw_note(
                str(error)
            )
        return {self._layout.sent: f"{sending} taken {key}"} | self._page.drawn(key, request)

    def say_example(
        self,
        learn: bool,
        temporary: bool,
        teach: bool,
        instructions: str,
        key: str,
        example: gr.SelectData,
        request: gr.Request,
    ) -> Update:
        text = example.value["text"]
        try:
            key = self._say(text, learn, temporary, teach, instructions, key, request)
        except ChatError as error:
            return self._layout.draw_note(str(error))
        return self._page.drawn(key, request)

    def _say(
        self,
        text: str,
        learn: bool,
        temporary: bool,
        teach: bool,
        instructions: str,
        key: str,
        request: gr.Request,
    ) -> str:
        """Say it in the chat of ``key``, or in a new one; return the key of the chat."""
        message = self._service.check(text)  # before a conversation is begun for it
        if not key:
            chat = self._service.shelf.begin(
                learn=learn or teach,
                temporary=temporary and not teach,
                instructions=instructions or "",  # None until it was first drawn
                purpose=Purpose.TEACHING if teach else Purpose.CHAT,
            )
            if chat.temporary:
                self._page.holds(request.session_hash, chat.id)
            self._service.say(chat.id, message)
            self._page.turned_to(chat.key, request)
            return chat.key
        self._service.say(self._page.id(key), message)
        return key

    def write_again(self, key: str, request: gr.Request) -> Update:
        return self._page.done(lambda: self._service.retry(self._page.id(key)), key, request)

    def go_on(self, key: str, request: gr.Request) -> Update:
        return self._page.done(lambda: self._service.go_on(self._page.id(key)), key, request)

    def edit(
        self, turns: str, key: str, begun: str, edited: gr.EditData, request: gr.Request
    ) -> Update:
        """A message said anew, or a reply made better, in the transcript itself.

        ``begun`` says in which chat, and at which of its turns: Gradio keeps an editor open at its
        place of the transcript, whatever is shown there by now.
        """

        def change() -> None:
            begun_key, begun_turn = _begun(begun)
            if begun_key != key:
                raise ChatError(tr(BEGUN_ELSEWHERE))
            conversation_id = self._page.id(key)
            turn_id = _turn(turns, edited.index)
            shown = {turn.id: turn for turn in self._service.view(conversation_id).turns}
            if turn_id not in shown or turn_id != begun_turn:
                raise ChatError(
                    tr("This chat has changed on another page; here it is as it is now.")
                )
            text = typed(edited.value)
            if shown[turn_id].message.role is Role.USER:
                self._service.say_instead(conversation_id, turn_id, text)
            else:
                self._service.teaching.edit_reply(conversation_id, turn_id, text)

        return self._page.done(change, key, request)

    def rate(
        self,
        turns: str,
        saved: str,
        key: str,
        liked: gr.LikeData,
        request: gr.Request,
    ) -> Update:
        thumb = {True: Thumb.UP, False: Thumb.DOWN}.get(liked.liked, Thumb.NONE)  # type: ignore[call-overload]

        def keep() -> None:
            self._service.teaching.rate(self._page.id(key), _turn(turns, liked.index), thumb)

        return self._page.done_beside(keep, saved, key, request)

    def rank_more(self, key: str, request: gr.Request) -> Update:
        """Put the answers to the last message, and more of them, on the ranking desk."""

        def put() -> None:
            conversation_id = self._page.id(key)
            said = [
                turn
                for turn in self._service.view(conversation_id).turns
                if turn.message.role is Role.USER
            ]
            if not said:
                raise ChatError(tr("There is no message here whose answers could be ranked."))
            self._service.ranking.begin_more(conversation_id, said[-1].id, ANSWERS)

        return self._page.done(put, key, request)

    def show(self, turn: str, key: str, request: gr.Request) -> Update:
        if not turn:
            return self._page.drawn(key, request)
        return self._page.done(
            lambda: self._service.show(self._page.id(key), TurnId(int(turn))), key, request
        )

    def end_reply(self, key: str) -> None:
        if key:
            self._service.stop(self._page.id(key))


def _begun(begun: str) -> tuple[str | None, int | None]:
    """The key of the chat in which an edit was begun, and the turn."""
    try:
        said = json.loads(begun)
        return said["key"], said["turn"]
    except (KeyError, TypeError, ValueError):
        return None, None


def _turn(turns: str, index: object) -> TurnId:
    """The turn at a place of the transcript as this page shows it."""
    shown = json.loads(turns or "[]")
    place = index[0] if isinstance(index, list | tuple) else index
    if not isinstance(place, int) or not 0 <= place < len(shown):
        raise ChatError(tr("This reply is still being written; try again when it is done."))
    return TurnId(shown[place])
