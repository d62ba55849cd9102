"""What the parts of the page share: how an update is written, and small pieces."""

from typing import Any, Literal

import gradio as gr

from chat_app.language import N_, tr

# Gradio builds a component anew for each update that names it, and each Chatbot works out the JSON
# schema of its data again: a quarter of what an update of a growing reply cost. It is the same one
# for all of them. (In a class of our own, Gradio would write a .pyi file beside the source.)
_DESCRIBED = gr.Chatbot(render=False).api_info()
gr.Chatbot.api_info = lambda _: _DESCRIBED  # type: ignore[method-assign]

Update = dict[Any, Any]
"""Component to its new value; components not named keep theirs."""

HIDDEN = "hidden"
"""In the page, unseen, where the browser keeps it; False would leave it out."""

QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "queue": False,
}
"""Of a listener that only asks the store: no spinner, no endpoint, and no queue, so that its answer
comes in the response to its own request (docs/decisions/0014). What comes while it still answers
is dropped, which is right where the same thing twice would be a slip."""

EACH = QUIET | {"trigger_mode": "multiple"}
"""Of a listener whose every event counts, however fast they come."""

STREAM = EACH | {"queue": True}
"""Of a generator: Gradio hands out what it yields through its queue alone."""

LAST = QUIET | {"trigger_mode": "always_last"}
"""Of a listener whose newest event counts: it is answered after the one before, with what the page
holds then."""

SLID = LAST | {"preprocess": False}
"""Of a slider: it hands on what its box holds, empty or out of range too, which Gradio would refuse
in words of its own; ``unfit`` has ours. page.js has keys count as letting go."""


def plain_slider(low: float, high: float, **options: Any) -> gr.Slider:  # noqa: ANN401 - Gradio's own
    """Without Gradio's button that resets it: to what it was built with, not to what is set."""
    return gr.Slider(low, high, buttons=[], **options)


def unfit(slider: gr.Slider, value: object, now: float) -> str:
    """Why the slider cannot take this value, or nothing; ``now`` is what stays set."""
    whole = slider.precision == 0
    within = isinstance(value, int | float) and slider.minimum <= value <= slider.maximum
    if within and (not whole or isinstance(value, int)):
        return ""
    told = (
        N_("{name}: enter a whole number from {low} to {high}. It stays at {now}.")
        if whole
        else N_("{name}: enter a number from {low:g} to {high:g}. It stays at {now:g}.")
    )
    return tr(told, name=slider.label, low=slider.minimum, high=slider.maximum, now=now)


def line(sentence: str) -> Update:
    """A sentence, or nothing at all."""
    return gr.update(value=sentence, visible=bool(sentence))


def show(*, visible: bool) -> Update:
    return gr.update(visible=visible)


def hidden(elem_id: str) -> gr.Textbox:
    """A value that travels with the page and is read by page.js or a handler."""
    return gr.Textbox(visible=HIDDEN, elem_id=elem_id)


def small_button(
    label: str,
    elem_id: str,
    *,
    variant: Literal["primary", "secondary", "stop"] = "secondary",
    visible: bool = True,
) -> gr.Button:
    return gr.Button(
        label,
        elem_id=elem_id,
        variant=variant,
        visible=visible,
        size="sm",
        min_width=60,
        scale=0,
    )
