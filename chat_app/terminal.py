"""``twofold chat``: the chat and its questions in a terminal, over the service that pages use.

Lines come in through ``read`` and go out through ``write``, so it knows no terminal. A line that is
one of the keys answers an open question; every other line is a message, and as on the page it
leaves the question skipped.
"""

import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Event

from chat_app import wording
from chat_app.errors import ChatError
from chat_app.language import N_, tr, upper_first
from chat_app.service import ChatService
from learner.protocols import Draft, Stage
from storage.records import Choice, Comparison, ConversationId, TurnId, TurnState

KEYS = {
    "1": Choice.FIRST,
    "2": Choice.SECOND,
    "t": Choice.TIE,
    "b": Choice.BOTH_BAD,
    "s": Choice.SKIP,
}
UNDO = "u"

HELP = N_(
    "A line is a message; one that ends with \\ goes on in the next line. Where two replies are "
    "shown: 1 or 2 for the better one, t if they are about the same, b if both are bad, s to skip, "
    "u to take a choice back. Writing on skips, too.\n"
    "/better TEXT  answer with a better reply of your own\n"
    "/retry        another reply to your last message\n"
    "/undo         take the last choice back\n"
    "/new          a new chat\n"
    "/help         this list\n"
    "/quit         end (also Ctrl+D; Ctrl+C stops a reply)\n"
)
CLEAR = "\r\x1b[K"
"""To the beginning of the line, and nothing on it."""


class TerminalChat:
    def __init__(
        self,
        service: ChatService,
        *,
        read: Callable[[str], str],
        write: Callable[[str], None],
        candidates: int,
        is_terminal: bool = False,
        interrupts: Callable[[], AbstractContextManager[Event]] = lambda: nullcontext(Event()),
    ) -> None:
        """``read`` shows a prompt and returns a line, or raises EOFError. ``is_terminal``: a line
        that was written can be taken back, for what is being done just now. ``interrupts``: within
        it Ctrl+C sets the event, and interrupts nothing of what is being stored."""
        self._service = service
        self._read = read
        self._write = write
        self._candidates = candidates
        self._is_terminal = is_terminal
        self._interrupts = interrupts
        self._speaker = service.status().live
        self._doing = ""  # what the last line says, where it goes again
        self._turn_to_new()

    def run(self) -> None:
        """Chat until the person ends it."""
        self._tell(tr("Write a message. /help lists the keys, /quit ends."))
        while (line := self._line()) is not None:
            try:
                if not self._take(line.strip()):
                    return
            except ChatError as error:
                self._tell(str(error))

    # --- Lines ---------------------------------------------------------------------------------

    def _line(self) -> str | None:
        """What the person wrote, of one line or several; None where they end."""
        live = self._service.status().live
        if live != self._speaker:
            self._speaker = live
            name = upper_first(wording.version_name(live))
            self._tell(tr("{version} speaks from the next reply on.", version=name))
        prompt = "[1/2/t/b/s] > " if self._question else "> "
        lines = []
        try:
            while (line := self._read(prompt)).endswith("\\"):
                lines.append(line[:-1])
                prompt = "… "
        except (EOFError, KeyboardInterrupt):
            self._write("\n")
            return None
        return "\n".join([*lines, line])

    def _take(self, text: str) -> bool:
        """Do what a line says; False where it ends the chat."""
        key = text.lower()
        if text.startswith("/"):
            return self._command(text)
        if self._question is not None and key in KEYS:
            self._answer(self._question, KEYS[key])
        elif key == UNDO and self._answered and (self._question or self._just_answered):
            self._take_back()
        elif text:
            self._say(text)
        return True

    def _command(self, text: str) -> bool:
        name, _, rest = text.partition(" ")
        match name:
            case "/quit" | "/exit":
                return False
            case "/new":
                self._turn_to_new()
                self._tell(tr("A new chat."))
            case "/retry":
                if self._chat is None:
                    raise ChatError(tr("There is no message to reply to yet."))
                last = self._service.view(self._chat).turns[-1].id
                self._service.retry(self._chat)
                self._follow(self._chat, last)
            case "/undo":
                self._take_back()
            case "/better":
                self._write_better(rest)
            case "/help":
                self._write(tr(HELP))
            case _:
                raise ChatError(tr("{name} is no command: /help lists them.", name=name))
        return True

    def _turn_to_new(self) -> None:
        self._chat: ConversationId | None = None  # it begins with its first message
        self._question: Comparison | None = None
        self._changing = False
        self._answered: str | None = None  # the token of the newest answer
        self._just_answered = False

    # --- Messages and replies ------------------------------------------------------------------

    def _say(self, text: str) -> None:
        message = self._service.check(text)
        skips = self._question is not None and not self._changing
        chat = self._chat or self._service.new_conversation().id
        said = self._service.say(chat, message)
        self._chat, self._question = chat, None
        self._changing = self._just_answered = False
        if skips:
            self._tell(f"{wording.CHOICE_NAMES[Choice.SKIP]}.")
        self._follow(chat, said.id)

    def _follow(self, chat: ConversationId, last: TurnId) -> None:
        """Show the reply as it is written, then what came of it. Ctrl+C stops it.

        ``last`` is the turn that the chat ended with before, and still does where nothing came.
        """
        streamed = _Streamed(self._write)
        stopped = False
        with self._interrupts() as wished:
            for draft in self._service.watch(chat):
                if wished.is_set() and not stopped:
                    stopped = True
                    self._service.stop(chat)
                self._draw(draft, streamed)
        self._status("")
        view = self._service.view(chat)
        if view.question is not None:
            self._question = view.question
            self._ask(view.question, streamed)
        elif view.failed:
            self._tell(view.failed)
        elif view.turns[-1].id == last:
            self._tell(tr("This reply was stopped before its first word: /retry writes it."))
        else:
            streamed.finish(view.turns[-1].message.content)
            if view.turns[-1].state is TurnState.ABORTED:
                self._tell(tr("This reply was stopped before its end."))
        for notice in view.notices:
            self._tell(notice)

    def _draw(self, draft: Draft, streamed: "_Streamed") -> None:
        pair = len(draft.texts) == 2
        if draft.stage is not Stage.STREAMING or (pair and not draft.texts[0]):
            # Of a pair reply 1 is read as it grows, reply 2 when both are whole.
            if not streamed.text:
                told = wording.stage_line(draft, self._candidates)
                self._status(tr("Writing two replies…") if pair else told)
            return
        if not streamed.text:
            self._status("")
            if pair:
                self._head(1)
        streamed.grow(draft.texts[0])

    def _ask(self, question: Comparison, streamed: "_Streamed") -> None:
        if not streamed.text:
            self._head(1)
        streamed.finish(question.first.completion.text)
        self._write("\n")
        self._head(2)
        _Streamed(self._write).finish(question.second.completion.text)
        self._write("\n")
        self._tell(wording.why_asked(question.question))
        self._tell_keys()

    def _tell_keys(self) -> None:
        if self._changing:
            self._tell(tr("Answer anew: 1 or 2, t about the same, b both bad; s leaves it so."))
        else:
            self._tell(tr("Which is better? 1 or 2, t about the same, b both bad, s skip."))

    def _head(self, number: int) -> None:
        self._tell(f"--- {tr('Reply 1') if number == 1 else tr('Reply 2')} ---")

    # --- Choices -------------------------------------------------------------------------------

    def _answer(self, question: Comparison, choice: Choice) -> None:
        if self._changing and choice is Choice.SKIP:  # what was taken back stays so
            self._question, self._changing = None, False
            self._tell_receipt()
            return
        if self._changing:
            self._service.change(question.token, choice)
        else:
            self._service.choose(question.token, choice)
        self._settled(question.token)

    def _write_better(self, text: str) -> None:
        if self._question is None or self._changing:
            raise ChatError(tr("No question is open: /better answers one."))
        self._service.write_better(self._question.token, text)
        self._settled(self._question.token)

    def _settled(self, token: str) -> None:
        self._question, self._changing = None, False
        self._answered, self._just_answered = token, True
        self._tell_receipt()

    def _tell_receipt(self) -> None:
        """What became of the answer that led to the last reply."""
        if self._chat is None:
            return
        view = self._service.view(self._chat)
        answer = view.answers.get(view.turns[-1].id) if view.turns else None
        if answer is not None:
            receipt = wording.receipt(answer, self._service.status())
            undo = tr("u takes it back.") if self._just_answered else ""
            self._tell(f"{wording.answer_name(answer)} {receipt} {undo}")

    def _take_back(self) -> None:
        """The newest answer teaches nothing any more; where none is open, it is asked again."""
        if self._answered is None:
            raise ChatError(tr("There is no choice to take back in this chat."))
        token, self._answered = self._answered, None
        self._service.undo(token)
        self._tell(f"{wording.CHOICE_NAMES[Choice.WITHDRAWN]}.")
        self._just_answered = False
        if self._question is None:
            self._question, self._changing = self._service.question(token), True
            self._tell_keys()

    # --- Writing -------------------------------------------------------------------------------

    def _tell(self, sentence: str) -> None:
        self._write(plain(sentence).strip() + "\n")

    def _status(self, sentence: str) -> None:
        """What is being done just now, in a line that goes again; nothing else is taken back."""
        if self._is_terminal and sentence != self._doing:
            self._write(CLEAR + plain(sentence))
            self._doing = sentence


class _Streamed:
    """A reply of which more and more is written."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.text = ""
        """What stands there."""

    def grow(self, text: str) -> None:
        said = plain(text)
        if said.startswith(self.text):
            self._write(said[len(self.text) :])
            self.text = said

    def finish(self, text: str) -> None:
        """The reply as it was kept: what is missing of it, or the whole where it is another."""
        said = plain(text).rstrip()
        if said.startswith(self.text):
            self._write(said[len(self.text) :])
        elif self.text.rstrip() != said:
            self._write("\n" + said)
        self._write("\n")


def plain(text: str) -> str:
    """Without what a terminal would obey: a reply must not move its cursor or name its window."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
