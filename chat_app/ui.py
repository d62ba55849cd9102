"""The page as a whole: frame, tabs, status line, theme. Gradio is known here and in ``ui_*.py``."""

import json
from html import escape
from pathlib import Path

import gradio as gr

from chat_app import wording
from chat_app.language import spoken, tr
from chat_app.service import ChatService
from chat_app.tabs import Tabs
from chat_app.ui_chat import ChatPage
from chat_app.ui_data import DataPage
from chat_app.ui_layout import ChatLayout
from chat_app.ui_learning import LearningPage
from chat_app.ui_models import ModelsPage
from chat_app.ui_pair import QUESTIONS
from chat_app.ui_parts import LAST
from chat_app.ui_rank import RankPage
from chat_app.ui_rank_layout import RankLayout
from chat_app.ui_settings import SettingsPage
from chat_app.views import Status
from learner.progress import LearnerState

ASSETS = Path(__file__).with_name("assets")
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Liberation Mono", "monospace"]
# Only fonts that a system has: a page that says it stays on this computer asks no other for one.
THEME = gr.themes.Default(
    primary_hue="teal", neutral_hue="slate", radius_size="lg", font=SANS, font_mono=MONO
).set(
    # The default steps of these hues are too faint to read (WCAG AA wants 4.5 to 1).
    color_accent="*primary_700",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    # And these of circles and boxes too faint to see (3 to 1).
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    checkbox_border_color_hover="*neutral_600",
    checkbox_border_color_hover_dark="*neutral_300",
    button_border_width="1px",
    button_secondary_background_fill="*background_fill_primary",
    button_secondary_background_fill_hover="*neutral_100",
    button_secondary_background_fill_dark="*background_fill_primary",
    button_secondary_background_fill_hover_dark="*neutral_700",
    button_secondary_border_color="*neutral_300",
    button_secondary_border_color_dark="*neutral_600",
    button_primary_border_color="*primary_700",
    button_primary_border_color_dark="*primary_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
)


def frame() -> str:
    """What page.js shows or says, in the language of the page."""
    words = {
        "language": spoken(),
        "ready": tr(wording.READY),
        "questions": [tr(question).removeprefix("## ") for question in QUESTIONS],
        "names": {
            "pane-1": tr("Reply {number}", number=1),
            "pane-2": tr("Reply {number}", number=2),
            "reply-before": tr("Previous reply"),
            "reply-after": tr("Next reply"),
            "branch-before": tr("Previous branch"),
            "branch-after": tr("Next branch"),
        },
    }
    keys = "".join(
        f"<div><dt>{tr(key)}</dt><dd>{tr(does)}</dd></div>" for key, does in wording.KEYS
    )
    return f"""
<div id="offline" role="alert" hidden>{tr(wording.OFFLINE)}</div>
<span id="page-words" data-words="{escape(json.dumps(words))}" hidden></span>
<dialog id="keys-dialog" aria-labelledby="keys-title">
<h2 id="keys-title">{tr("Keys")}</h2>
<label><input type="checkbox"> {tr("Use these keys")}</label>
<dl>{keys}</dl>
<button type="button">{tr("Close")}</button>
</dialog>
"""


def build_ui(service: ChatService, tabs: Tabs, *, candidates: int) -> gr.Blocks:
    """The page over ``service``; ``candidates`` is how many replies it says it drafts."""
    layout = ChatLayout(candidates)
    chat = ChatPage(service, layout)
    learning = LearningPage(service, tabs.learning, tabs.demo, tabs.models, tabs.settings)
    rank = RankLayout()
    data = DataPage(tabs.data)
    models = ModelsPage(tabs.models, service)
    settings = SettingsPage(tabs.settings, tabs.api_key, service.model_name)
    with gr.Blocks(title="twofold", fill_width=True, analytics_enabled=False) as page:
        layout.sidebar()
        with gr.Row(elem_id="header"):
            gr.Markdown("# twofold", elem_id="name")
            status = gr.HTML(elem_id="status")
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab(tr("Chat"), id="chat", elem_id="chat-tab"):
                layout.body()
            with gr.Tab(tr("Learning"), id="learning", elem_id="learning-tab") as learning_tab:
                learning.body()
            with gr.Tab(tr("Rank"), id="rank", elem_id="rank-tab") as rank_tab:
                rank.body()
            with gr.Tab(tr("Data"), id="data", elem_id="data-tab") as data_tab:
                data.body()
            with gr.Tab(tr("Models"), id="models", elem_id="models-tab") as models_tab:
                models.body()
            with gr.Tab(tr("Settings"), id="settings", elem_id="settings-tab") as settings_tab:
                settings.body()
        gr.HTML(frame(), elem_id="frame")
        chat.bind(page)
        learning.bind(learning_tab)
        RankPage(service, rank).bind(rank_tab)
        data.bind(data_tab)
        models.bind(models_tab)
        settings.bind(page, settings_tab)

        def tell() -> str:
            return status_html(service.status())

        gr.on([page.load, layout.seen.change], tell, None, status, **LAST)
    return page


def status_html(status: Status) -> str:
    """The version chip and how far the next lesson is."""
    learning = status.learner is not None and status.learner.state is LearnerState.LEARNING
    chip = f"v{status.live}" + (f" · {tr('learning')}" if learning else "")
    title = f"{status.model_name}, {wording.version_name(status.live)}"
    state = "busy" if learning else "calm"
    return (
        f'<span class="chip {state}" title="{escape(title)}">{escape(chip)}</span> '
        f"<span>{escape(wording.lesson_line(status))}</span>"
    )
