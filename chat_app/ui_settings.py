"""The Settings tab: how replies are written, when it asks, how it learns, where data live.

What counts at once is saved as it is changed; what counts at the next start says so. Theme and keys
belong to this browser and are kept in it.
"""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from chat_app.api_key import ApiKey
from chat_app.downloads import BACKUP
from chat_app.errors import ChatError
from chat_app.language import N_, Words, tr
from chat_app.settings import Language, Learning
from chat_app.settings_service import SettingsService
from chat_app.ui_api import ApiPanel
from chat_app.ui_parts import LAST, QUIET, SLID, Update, line, plain_slider, unfit
from learner.config import AskMode

# The class is Gradio's own mark of its dark theme.
APPLY_THEME = """(theme) => {
  theme = theme ?? localStorage.getItem("twofold-theme") ?? "system";
  localStorage.setItem("twofold-theme", theme);
  const dark = theme === "dark"
    || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.body.classList.toggle("dark", dark);
  return theme;
}"""
LOAD_THEME = f"() => [({APPLY_THEME})(undefined)]"
APPLY_KEYS = """(on) => { localStorage.setItem("twofold-keys", on ? "on" : "off"); return on }"""
LOAD_KEYS = """() => [localStorage.getItem("twofold-keys") !== "off"]"""
KEYS = N_(
    "\n| key | does |\n|---|---|\n| Enter, Shift+Enter | send, new line |\n| Esc | "
    "stop the reply; else leave the message box |\n| 1, 2 | Reply 1, Reply 2 is "
    "better (with Alt also inside the box) |\n| 0, 9 | about the same, both are bad "
    "|\n| S, U | skip, undo |\n"
)
KEPT = N_(
    "Otherwise, of older versions fewer and fewer: the newest six, then every second, every "
    "fourth and so on. Those with a note of yours stay, and those that `twofold train` made."
)
MODES = (
    (N_("When it is unsure"), AskMode.AUTO.value),
    (N_("Always"), AskMode.ALWAYS.value),
    (N_("Never"), AskMode.NEVER.value),
)
LEARNING = (
    (N_("Learn, and train new versions"), Learning.ON.value),
    (N_("Judges only, the model stays"), Learning.REWARD_ONLY.value),
    (N_("Do not learn"), Learning.OFF.value),
)
LANGUAGES = (
    (N_("As the system"), Language.AUTO.value),
    ("English", Language.ENGLISH.value),
    ("Deutsch", Language.GERMAN.value),
)
LABELS = Words(
    {
        "model": N_("the model"),
        "learn": N_("learning"),
        "language": N_("the language"),
        "min_picks": N_("choices per lesson"),
        "keep_versions": N_("what is kept"),
    }
)


class SettingsPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(self, settings: SettingsService, key: ApiKey, model_name: str) -> None:
        self._settings = settings
        self._api = ApiPanel(settings, key)
        self._model_name = model_name

    def body(self) -> None:
        self.note = gr.Markdown(visible=False, elem_id="settings-note")
        with gr.Accordion(tr("Replies"), elem_id="settings-replies"):
            with gr.Row():
                self.temperature = plain_slider(
                    0,
                    2,
                    step=0.05,
                    label=tr("Temperature"),
                    info=tr("0 says the likeliest, 2 is wild."),
                )
                self.top_p = plain_slider(
                    0.05,
                    1,
                    step=0.05,
                    label=tr("Top-p"),
                    info=tr("Share of probability drawn from."),
                )
            with gr.Row():
                self.top_k = plain_slider(
                    1,
                    200,
                    step=1,
                    precision=0,
                    label=tr("Top-k"),
                    info=tr("Likeliest tokens drawn from."),
                )
                self.max_new_tokens = plain_slider(
                    16,
                    512,
                    step=16,
                    precision=0,
                    label=tr("Longest reply"),
                    info=tr("In tokens, about words."),
                )
        with gr.Accordion(tr("Asking"), elem_id="settings-asking"):
            self.ask = gr.Radio(
                choices=[(tr(name), value) for name, value in MODES],
                label=tr("Show two replies"),
                elem_id="ask-mode",
            )
            with gr.Row():
                self.budget = plain_slider(
                    0,
                    1,
                    step=0.05,
                    label=tr("Budget"),
                    info=tr("Share of replies that may be questions."),
                )
                self.candidates = plain_slider(
                    2,
                    8,
                    step=1,
                    precision=0,
                    label=tr("Drafts per message"),
                    info=tr("More takes longer."),
                )
        with gr.Accordion(tr("Learner"), open=False, elem_id="settings-learner"):
            self.learn = gr.Radio(
                choices=[(tr(name), value) for name, value in LEARNING],
                label=tr("Learning (at the next start)"),
                elem_id="learn-mode",
            )
            self.min_picks = plain_slider(
                1, 32, step=1, precision=0, label=tr("Choices per lesson (at the next start)")
            )
        with gr.Accordion(tr("Language"), open=False, elem_id="settings-language"):
            self.language = gr.Radio(
                choices=[(tr(name), value) for name, value in LANGUAGES],
                label=tr("Language (at the next start)"),
                elem_id="language",
            )
        with gr.Accordion(tr("Model"), open=False, elem_id="settings-model"):
            gr.Markdown(
                tr("Running: **{model_name}**", model_name=self._model_name), elem_id="model-now"
            )
            with gr.Row():
                self.model = gr.Textbox(
                    label=tr("Model (at the next start)"),
                    placeholder=tr("A folder or a Hugging Face id; empty is the built-in one"),
                    info=tr("With safetensors and a chat template. Versions fit one model only."),
                    max_lines=1,
                    elem_id="model-spec",
                    scale=4,
                )
                self.model_save = gr.Button(tr("Save"), elem_id="model-save", size="md", scale=1)
        self._api.body()
        with gr.Accordion(tr("Your data"), open=False, elem_id="settings-data"):
            self.privacy = gr.HTML(elem_id="privacy")
            self.keep = gr.Checkbox(
                label=tr("Keep every version (at the next start)"),
                info=tr(KEPT),
                elem_id="keep-versions",
            )
            with gr.Row(elem_id="backup-row"):
                self.backup = gr.Button(tr("Back up now"), elem_id="backup", size="md")
            self.backup_said = gr.Markdown(visible=False, elem_id="backup-said")
        with gr.Accordion(tr("This browser"), open=False, elem_id="settings-browser"):
            self.theme = gr.Radio(
                choices=[
                    (tr("As the system"), "system"),
                    (tr("Light"), "light"),
                    (tr("Dark"), "dark"),
                ],
                value="system",
                label=tr("Theme"),
                elem_id="theme",
            )
            self.keys = gr.Checkbox(
                value=True, label=tr("Keys for choosing (1, 2, 0, 9, S, U)"), elem_id="keys-on"
            )
            gr.Markdown(tr(KEYS), elem_id="key-list")
        with gr.Accordion(tr("The same from the command line"), open=False, elem_id="settings-cli"):
            self.command = gr.Code(
                "", language="shell", label=tr("Command"), elem_id="command-line"
            )
            gr.Markdown(
                tr(
                    "`twofold export`, `twofold import`, `twofold backup` and `twofold versions` "
                    "do what the other tabs do; `twofold --help` lists all."
                ),
                elem_id="cli-hint",
            )
        self.reset = gr.Button(tr("Back to the defaults"), elem_id="settings-reset", size="md")
        self.sliders = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_new_tokens": self.max_new_tokens,
            "budget": self.budget,
            "candidates": self.candidates,
            "min_picks": self.min_picks,
        }

    def bind(self, page: gr.Blocks, tab: gr.Tab) -> None:
        said = [self.note, self.command]
        shown = [
            *self.sliders.values(),
            self.ask,
            self.learn,
            self.language,
            self.model,
            self.keep,
            self.privacy,
            self.backup_said,
            *self._api.parts,
            *said,
        ]
        tab.select(self.open, None, shown, **QUIET)
        for name, slider in self.sliders.items():
            slider.release(partial(self.slide, name), [slider], [slider, *said], **SLID)
        choices = {
            "ask": self.ask,
            "learn": self.learn,
            "language": self.language,
            "keep_versions": self.keep,
        }
        for name, part in choices.items():
            part.input(partial(self.save, name), [part], said, **LAST)
        gr.on(
            [self.model.submit, self.model_save.click],
            partial(self.save, "model"),
            [self.model],
            said,
            **QUIET,
        )
        self._api.bind(self.command)
        self.reset.click(self.to_defaults, None, shown, **QUIET)
        self.backup.click(self.do_back_up, None, [self.backup_said, self.privacy], **QUIET)
        page.load(None, None, [self.theme], js=LOAD_THEME, **QUIET)
        page.load(None, None, [self.keys], js=LOAD_KEYS, **QUIET)
        self.theme.input(None, [self.theme], None, js=APPLY_THEME, **QUIET)
        self.keys.input(None, [self.keys], None, js=APPLY_KEYS, **QUIET)

    # --- Events ------------------------------------------------------------------------------

    def open(self, request: gr.Request) -> Update:
        try:
            now, saved, numbers = self._settings.current, self._settings.saved, self._numbers()
        except ChatError as error:
            return {self.note: line(str(error))}
        return {
            **{slider: numbers[name] for name, slider in self.sliders.items()},
            self.ask: now.ask.mode.value,
            self.learn: saved.learn or now.learning.value,
            self.language: saved.language or now.language.value,
            self.model: saved.model or now.model or "",
            self.keep: now.keep_versions if saved.keep_versions is None else saved.keep_versions,
            self.privacy: self._privacy_html(),
            self.backup_said: line(""),
            self.note: line(""),
            self.command: self._settings.command_line(),
            **self._api.draw(request),
        }

    def slide(self, name: str, value: float | None) -> Update:
        """Save what a slider holds; what it cannot take is told, and the slider goes back."""
        slider = self.sliders[name]
        try:
            now = self._numbers()[name]
        except ChatError as error:
            return {self.note: line(str(error))}
        if told := unfit(slider, value, now):
            return {slider: now, self.note: line(told)}
        return self.save(name, value)

    def save(self, name: str, value: Any) -> Update:  # noqa: ANN401 - what the part holds
        try:
            waiting = self._settings.change({name: value or None if name == "model" else value})
        except ChatError as error:
            return {self.note: line(str(error)), self.command: gr.skip()}
        when = tr("at the next start") if waiting else tr("from the next reply on")
        if name in LABELS:
            when = (
                tr("for {what}, {when}", what=LABELS[name], when=when)
                if waiting
                else tr("as it is now")
            )
        return {
            self.note: line(tr("Saved: it counts {when}.", when=when)),
            self.command: self._settings.command_line(),
        }

    def to_defaults(self, request: gr.Request) -> Update:
        try:
            self._settings.reset()
        except ChatError as error:
            return {self.note: line(str(error))}
        return self.open(request) | {self.note: line(tr("Everything is as in the beginning."))}

    def do_back_up(self) -> Update:
        try:
            made = self._settings.back_up()
        except ChatError as error:
            return {self.backup_said: line(str(error))}
        return {
            self.backup_said: line(
                tr(
                    "Checked and kept as `{made}`.\n\n[Download it]({link})",
                    made=made,
                    link=f"{BACKUP}/{made.name}",
                )
            ),
            self.privacy: self._privacy_html(),
        }

    # --- Drawing -----------------------------------------------------------------------------

    def _numbers(self) -> dict[str, float]:
        """What each slider shows: what counts now, or waits for the next start."""
        now, saved = self._settings.current, self._settings.saved
        sampling = now.engine.sampling
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_new_tokens": sampling.max_new_tokens,
            "budget": now.ask.budget_share,
            "candidates": now.ask.candidates,
            "min_picks": saved.min_picks or now.online.min_preferences,
        }

    def _privacy_html(self) -> str:
        sizes = self._settings.sizes()
        facts = (
            (tr("Where"), str(self._settings.data_folder)),
            (tr("Chats and choices"), tr("{size:.1f} MB", size=sizes.database / 2**20)),
            (tr("Versions"), tr("{size:.1f} MB", size=sizes.versions / 2**20)),
            (
                tr("Who sees it"),
                tr("Nobody: twofold sends nothing anywhere and answers to this computer only."),
            ),
            (
                tr("Deleting"),
                tr(
                    "One choice or one chat on the Data tab, with what was learned from it; "
                    "everything by removing this folder."
                ),
            ),
        )
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
        return f'<dl class="terms">{rows}</dl>'
