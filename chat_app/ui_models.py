"""The Models tab: the tree of versions, what each learned and how it was judged, who speaks."""

from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from chat_app import wording_models as words
from chat_app.downloads import adapter_link, merged_link
from chat_app.errors import ChatError
from chat_app.language import tr, tr_n, upper_first
from chat_app.models_service import ModelsService, VersionCard, VersionDetail, lanes
from chat_app.service import ChatService
from chat_app.ui_parts import LAST, QUIET, Update, hidden, line
from chat_app.wording import age, version_name
from storage.records import BASE_VERSION, PolicyVersionId

REFRESH_S = 5.0
OPEN_CHAT = "(key) => { if (key) location.href = `/?c=${encodeURIComponent(key)}` }"


class ModelsPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(self, models: ModelsService, service: ChatService) -> None:
        self._models = models
        self._service = service

    def body(self) -> None:
        gr.Markdown(tr(words.RULE), elem_id="models-rule")
        self.empty = gr.Markdown(tr(words.ONLY_BASE), visible=False, elem_id="no-versions")
        self.note = gr.Markdown(visible=False, elem_id="models-note")
        with gr.Row(elem_id="models-row"):
            with gr.Column(min_width=260, elem_id="versions-column"):
                self.list = gr.Radio(
                    choices=[], label=tr("Versions"), container=False, elem_id="version-list"
                )
                self.back = gr.Button(tr("Roll back one step"), elem_id="models-back", size="md")
            with gr.Column(visible=False, min_width=280, elem_id="version-detail") as self.detail:
                self.title = gr.Markdown("", elem_id="version-title")
                self.facts = gr.HTML(elem_id="version-facts")
                self.own_note = gr.Textbox(
                    label=tr("Your note"),
                    placeholder=tr("What you noticed about this version"),
                    lines=1,
                    max_lines=6,
                    elem_id="version-note",
                )
                with gr.Row(elem_id="version-actions"):
                    self.make_live = gr.Button(
                        tr("Make it live"), elem_id="make-live", size="md", min_width=130
                    )
                    self.download = gr.HTML(elem_id="adapter-link")
        with gr.Accordion(tr("Compare two versions, blind"), open=False, elem_id="compare"):
            gr.Markdown(tr(words.COMPARE), elem_id="compare-hint")
            with gr.Row():
                self.one = gr.Dropdown(choices=[], label=tr("One"), elem_id="compare-one")
                self.other = gr.Dropdown(choices=[], label=tr("The other"), elem_id="compare-other")
            self.said = gr.Textbox(
                label=tr("Your message"), max_lines=6, lines=1, elem_id="compare-message"
            )
            self.compare = gr.Button(
                tr("Compare in the chat"), variant="primary", elem_id="compare-start", size="md"
            )
            self.compare_note = gr.Markdown(visible=False, elem_id="compare-note")
        self.opened = gr.Textbox(visible="hidden", elem_id="compare-key")
        # Answers overlap: a press means the version of the title above it, and a note the one it
        # was drawn with, whatever the list has come to since.
        self.titled, self.noted = hidden("titled-version"), hidden("noted-version")
        self.timer = gr.Timer(REFRESH_S)

    def bind(self, tab: gr.Tab) -> None:
        listed = [self.empty, self.list, self.back, *self._detail_parts]
        moving = [self.empty, self.list, self.back, self.title, self.titled, self.make_live]
        both = [self.one, self.other]
        tab.select(self.open, [self.list], [*listed, *both, self.note, self.compare_note], **QUIET)
        gr.on(
            [self.compare.click, self.said.submit],
            self.do_compare,
            [*both, self.said],
            [self.opened, self.compare_note],
            **QUIET,
        )
        self.opened.change(None, [self.opened], None, js=OPEN_CHAT)
        # The timer leaves the facts alone: somebody may have unfolded them.
        self.timer.tick(self.follow, [self.list], moving, **QUIET)
        # Arrow keys move fast: the one they end on is shown.
        self.list.input(self.show, [self.list], self._detail_parts, **LAST)
        acts = QUIET | {"outputs": [*listed, self.note]}
        gr.on(
            [self.own_note.submit, self.own_note.blur],
            self.do_note,
            [self.noted, self.own_note],
            [self.list, self.note],
            **LAST,
        )
        self.make_live.click(self.do_make_live, [self.titled], **acts)
        self.back.click(self.do_roll_back, [self.list], **acts)

    @property
    def _detail_parts(self) -> list[Any]:
        return [
            self.detail,
            self.title,
            self.titled,
            self.facts,
            self.own_note,
            self.noted,
            self.make_live,
            self.download,
        ]

    # --- Events ------------------------------------------------------------------------------

    def open(self, chosen: int | None) -> Update:
        known = [(upper_first(version_name(card.id)), int(card.id)) for card in self._speakers()]
        pair = {self.one: known[0][1], self.other: known[min(1, len(known) - 1)][1]}
        return (
            self.refresh(chosen)
            | {part: gr.update(choices=known, value=value) for part, value in pair.items()}
            | {self.note: line(""), self.compare_note: line("")}
        )

    def _speakers(self) -> list[VersionCard]:
        """The versions that may speak, newest first."""
        return [card for card in self._models.versions() if card.servable]

    def do_compare(self, one: int | None, other: int | None, text: str) -> Update:
        if one is None or other is None:
            return {self.compare_note: line(tr("Choose two versions first."))}
        try:
            chat = self._service.compare(text, PolicyVersionId(one), PolicyVersionId(other))
        except ChatError as error:
            return {self.compare_note: line(str(error))}
        return {self.opened: chat.key, self.compare_note: line("")}

    def refresh(self, chosen: int | None) -> Update:
        """The list as it is now; what is looked at stays, and at first it is the live version."""
        looked_at = None if chosen is None else PolicyVersionId(chosen)
        cards = self._models.versions(also=looked_at)
        live = next(card for card in cards if card.live)
        now = datetime.now(UTC)
        beside = lanes(cards)
        shown = [
            (words.card_label(card, lane, now), int(card.id))
            for card, lane in zip(cards, beside, strict=True)
        ]
        chosen = int(live.id) if chosen is None else chosen
        return {
            self.empty: gr.update(visible=len(cards) == 1),
            self.list: gr.update(choices=shown, value=chosen),
            self.back: gr.update(interactive=live.id != BASE_VERSION),
            **self.show(chosen),
        }

    def follow(self, chosen: int | None) -> Update:
        """What moves by itself; the list stays where the person has gone to since."""
        moved = self.refresh(chosen)
        moved[self.list].pop("value")
        for part in (self.detail, self.facts, self.own_note, self.noted, self.download):
            moved.pop(part, None)
        return moved

    def show(self, chosen: int | None) -> Update:
        if chosen is None:
            return {self.detail: gr.update(visible=False)}
        try:
            detail = self._models.detail(PolicyVersionId(chosen))
        except ChatError as error:
            return {
                self.detail: gr.update(visible=True),
                self.title: "",
                self.titled: "",
                self.facts: f"<p>{escape(str(error))}</p>",
                self.own_note: "",
                self.noted: "",
                self.make_live: gr.update(visible=False),
                self.download: "",
            }
        card = detail.card
        has_adapter = card.id != BASE_VERSION and detail.size_bytes > 0
        return {
            self.detail: gr.update(visible=True),
            self.title: words.title(card),
            self.titled: str(card.id),
            self.facts: facts_html(detail, datetime.now(UTC)),
            self.own_note: card.note,
            self.noted: str(card.id),
            self.make_live: gr.update(visible=card.servable and not card.live),
            self.download: self._links(detail) if has_adapter else "",
        }

    def _links(self, detail: VersionDetail) -> str:
        whole = _merged(detail) if self._models.merges else ""
        return _adapter(detail) + whole

    def do_make_live(self, titled: str) -> Update:
        if not titled:
            return {self.note: line(tr("Choose a version first."))}
        version = PolicyVersionId(int(titled))
        try:
            self._models.make_live(version)
        except ChatError as error:
            return self.refresh(int(version)) | {self.note: line(str(error))}
        return self.refresh(int(version)) | {self.note: line(_speaks(version))}

    def do_note(self, noted: str, text: str) -> Update:
        if not noted:
            return {self.note: line(tr("Choose a version first."))}
        version = PolicyVersionId(int(noted))
        try:
            if self._models.detail(version).card.note == text.strip():
                return {self.note: gr.skip()}
            self._models.note(version, text)
        except ChatError as error:
            return {self.note: line(str(error))}
        listed = self.refresh(int(version))[self.list]
        listed.pop("value")  # the note may be saved because the person goes to another version
        return {self.list: listed, self.note: line(tr("Noted."))}

    def do_roll_back(self, chosen: int | None) -> Update:
        try:
            now_live = self._models.roll_back()
        except ChatError as error:
            return self.refresh(chosen) | {self.note: line(str(error))}
        return self.refresh(int(now_live)) | {self.note: line(_speaks(now_live))}


def facts_html(detail: VersionDetail, now: datetime) -> str:
    """What is known of a version: terms, then the gate's figures, then all figures, folded."""
    card, lesson = detail.card, detail.lesson
    facts = [(tr("State"), words.standing(card))]
    if lesson is not None:
        facts += [
            (
                tr("Made"),
                tr(
                    "{when}, from {version}",
                    when=age(card.created_at, now),
                    version=version_name(lesson.parent),
                ),
            ),
            (
                tr("Learned"),
                tr_n(
                    "{n} choice in {seconds:.0f} s, by {update_rule}",
                    "{n} choices in {seconds:.0f} s, by {update_rule}",
                    card.picks,
                    seconds=lesson.seconds,
                    update_rule=lesson.update_rule,
                ),
            ),
            (tr("Judged"), f"{lesson.reason}"),
            (tr("Your choices"), words.duels_line(detail)),
            (tr("On disk"), words.size(detail.size_bytes)),
        ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    if lesson is None:
        return f'<dl class="terms">{rows}</dl>'
    gate = _table(
        (tr("Check"), tr("Figure"), tr("Limit")), words.gate_rows(lesson.metrics, detail.gate)
    )
    every = _table(
        (tr("Figure"), tr("Value")),
        [(name, f"{value:.4g}") for name, value in sorted(lesson.metrics.items())],
    )
    return (
        f'<dl class="terms">{rows}</dl>{gate}'
        f"<details><summary>{tr('All figures of its lesson')}</summary>{every}</details>"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<table class="figures"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'


def _adapter(detail: VersionDetail) -> str:
    link = escape(adapter_link(detail.card.id))
    text = tr("Download v{id} ({size})", id=detail.card.id, size=words.size(detail.size_bytes))
    return f'<a class="button quiet" href="{link}" download>{escape(text)}</a>'


def _merged(detail: VersionDetail) -> str:
    link = escape(merged_link(detail.card.id))
    text = tr("Download v{id} as a whole model", id=detail.card.id)
    return f'<a class="button quiet" href="{link}" download>{escape(text)}</a>'


def _speaks(version: PolicyVersionId) -> str:
    return tr(
        "{version} speaks from the next reply on.",
        version=upper_first(version_name(version)),
    )
