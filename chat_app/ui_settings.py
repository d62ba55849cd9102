"""The Settings tab: how replies are written, when it asks, how it learns, where data live.

What counts at once is saved as it is changed; what counts at the next start says so. Theme and keys
belong to this browser and are kept in it.
"""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from chat_app.downloads import BACKUP
from chat_app.errors import ChatError
from chat_app.settings import Learning
from chat_app.settings_service import SettingsService
from chat_app.ui_parts import Update, line
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
KEYS = """
| key | does |
|---|---|
| Enter, Shift+Enter | send, new line |
| Esc | stop the reply; else leave the message box |
| 1, 2 | Reply 1, Reply 2 is better (with Alt also inside the box) |
| 0, 9 | about the same, both are bad |
| S, U | skip, undo |
"""
MODES = (
    ("When it is unsure", AskMode.AUTO.value),
    ("Always", AskMode.ALWAYS.value),
    ("Never", AskMode.NEVER.value),
)
LEARNING = (
    ("Learn, and train new versions", Learning.ON.value),
    ("Judges only, the model stays", Learning.REWARD_ONLY.value),
    ("Do not learn", Learning.OFF.value),
)
LABELS = {"model": "the model", "learn": "learning", "min_picks": "choices per lesson"}


class SettingsPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(self, settings: SettingsService, model_name: str) -> None:
        self._settings = settings
        self._model_name = model_name

    def body(self) -> None:
        self.note = gr.Markdown(visible=False, elem_id="settings-note")
        with gr.Accordion("Replies", elem_id="settings-replies"):
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 2, step=0.05, label="Temperature", info="0 says the likeliest, 2 is wild."
                )
                self.top_p = gr.Slider(
                    0.05, 1, step=0.05, label="Top-p", info="Share of probability drawn from."
                )
            with gr.Row():
                self.top_k = gr.Slider(
                    1, 200, step=1, label="Top-k", info="Likeliest tokens drawn from."
                )
                self.max_new_tokens = gr.Slider(
                    16, 512, step=16, label="Longest reply", info="In tokens, about words."
                )
        with gr.Accordion("Asking", elem_id="settings-asking"):
            self.ask = gr.Radio(choices=list(MODES), label="Show two replies", elem_id="ask-mode")
            with gr.Row():
                self.budget = gr.Slider(
                    0, 1, step=0.05, label="Budget", info="Share of replies that may be questions."
                )
                self.candidates = gr.Slider(
                    2, 8, step=1, label="Drafts per message", info="More takes longer."
                )
        with gr.Accordion("Learner", open=False, elem_id="settings-learner"):
            self.learn = gr.Radio(
                choices=list(LEARNING), label="Learning (at the next start)", elem_id="learn-mode"
            )
            self.min_picks = gr.Slider(
                1, 32, step=1, label="Choices per lesson (at the next start)"
            )
        with gr.Accordion("Model", open=False, elem_id="settings-model"):
            gr.Markdown(f"Running: **{self._model_name}**", elem_id="model-now")
            with gr.Row():
                self.model = gr.Textbox(
                    label="Model (at the next start)",
                    placeholder="A folder or a Hugging Face id; empty is the built-in one",
                    info="With safetensors and a chat template. Versions fit one model only.",
                    max_lines=1,
                    elem_id="model-spec",
                    scale=4,
                )
                self.model_save = gr.Button("Save", elem_id="model-save", size="md", scale=1)
        with gr.Accordion("Your data", open=False, elem_id="settings-data"):
            self.privacy = gr.HTML(elem_id="privacy")
            with gr.Row(elem_id="backup-row"):
                self.backup = gr.Button("Back up now", elem_id="backup", size="md")
            self.backup_said = gr.Markdown(visible=False, elem_id="backup-said")
        with gr.Accordion("This browser", open=False, elem_id="settings-browser"):
            self.theme = gr.Radio(
                choices=[("As the system", "system"), ("Light", "light"), ("Dark", "dark")],
                value="system",
                label="Theme",
                elem_id="theme",
            )
            self.keys = gr.Checkbox(
                value=True, label="Keys for choosing (1, 2, 0, 9, S, U)", elem_id="keys-on"
            )
            gr.Markdown(KEYS, elem_id="key-list")
        with gr.Accordion("The same from the command line", open=False, elem_id="settings-cli"):
            self.command = gr.Code("", language="shell", label="Command", elem_id="command-line")
            gr.Markdown(
                "`twofold export`, `twofold import`, `twofold backup` and `twofold versions` do "
                "what the other tabs do; `twofold --help` lists all.",
                elem_id="cli-hint",
            )
        self.reset = gr.Button("Back to the defaults", elem_id="settings-reset", size="md")
        self.live = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_new_tokens": self.max_new_tokens,
            "budget": self.budget,
            "candidates": self.candidates,
        }

    def bind(self, page: gr.Blocks, tab: gr.Tab) -> None:
        quiet: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_limit": None,
        }
        said = [self.note, self.command]
        shown = [
            *self.live.values(),
            self.ask,
            self.learn,
            self.min_picks,
            self.model,
            self.privacy,
            self.backup_said,
            *said,
        ]
        tab.select(self.open, None, shown, **quiet)
        for name, slider in (self.live | {"min_picks": self.min_picks}).items():
            slider.release(partial(self.save, name), [slider], said, **quiet)
        for name, radio in {"ask": self.ask, "learn": self.learn}.items():
            radio.input(partial(self.save, name), [radio], said, **quiet)
        gr.on(
            [self.model.submit, self.model_save.click],
            partial(self.save, "model"),
            [self.model],
            said,
            **quiet,
        )
        self.reset.click(self.to_defaults, None, shown, **quiet)
        self.backup.click(self.do_back_up, None, [self.backup_said, self.privacy], **quiet)
        page.load(None, None, [self.theme], js=LOAD_THEME, **quiet)
        page.load(None, None, [self.keys], js=LOAD_KEYS, **quiet)
        self.theme.input(None, [self.theme], None, js=APPLY_THEME, **quiet)
        self.keys.input(None, [self.keys], None, js=APPLY_KEYS, **quiet)

    # --- Events ------------------------------------------------------------------------------

    def open(self) -> Update:
        now = self._settings.current
        sampling, saved = now.engine.sampling, self._settings.saved
        return {
            self.temperature: sampling.temperature,
            self.top_p: sampling.top_p,
            self.top_k: sampling.top_k,
            self.max_new_tokens: sampling.max_new_tokens,
            self.budget: now.ask.budget_share,
            self.candidates: now.ask.candidates,
            self.ask: now.ask.mode.value,
            self.learn: saved.learn or now.learning.value,
            self.min_picks: saved.min_picks or now.online.min_preferences,
            self.model: saved.model or now.model or "",
            self.privacy: self._privacy_html(),
            self.backup_said: line(""),
            self.note: line(""),
            self.command: self._settings.command_line(),
        }

    def save(self, name: str, value: Any) -> Update:  # noqa: ANN401 - what the part holds
        try:
            waiting = self._settings.change({name: value or None if name == "model" else value})
        except ChatError as error:
            return {self.note: line(str(error)), self.command: gr.skip()}
        when = "at the next start" if waiting else "from the next reply on"
        if name in LABELS:
            when = f"for {LABELS[name]}, {when}" if waiting else "as it is now"
        return {
            self.note: line(f"Saved: it counts {when}."),
            self.command: self._settings.command_line(),
        }

    def to_defaults(self) -> Update:
        self._settings.reset()
        return self.open() | {self.note: line("Everything is as in the beginning.")}

    def do_back_up(self) -> Update:
        try:
            made = self._settings.back_up()
        except ChatError as error:
            return {self.backup_said: line(str(error))}
        return {
            self.backup_said: line(
                f"Checked and kept as `{made}`.\n\n[Download it]({BACKUP}/{made.name})"
            ),
            self.privacy: self._privacy_html(),
        }

    # --- Drawing -----------------------------------------------------------------------------

    def _privacy_html(self) -> str:
        sizes = self._settings.sizes()
        facts = (
            ("Where", str(self._settings.data_folder)),
            ("Chats and choices", f"{sizes.database / 2**20:.1f} MB"),
            ("Versions", f"{sizes.versions / 2**20:.1f} MB"),
            (
                "Who sees it",
                "Nobody: twofold sends nothing anywhere and answers to this computer only.",
            ),
            (
                "Deleting",
                "One choice or one chat on the Data tab, with what was learned from it; everything "
                "by removing this folder.",
            ),
        )
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
        return f'<dl class="terms">{rows}</dl>'
