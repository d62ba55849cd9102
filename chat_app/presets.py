"""Ready-made instructions for a chat."""

from chat_app.language import N_, Words

NO_PRESET = N_("None")

PRESETS = Words(
    {
        NO_PRESET: "",
        N_("Short"): N_(
            "Answer in one to three sentences. Leave out greetings and closing remarks."
        ),
        N_("Step by step"): N_("Explain step by step, in a numbered list, one idea for each step."),
        N_("Plain words"): N_(
            "Use plain, everyday words and short sentences. Explain every technical term."
        ),
        N_("Editor"): N_("Improve the wording of what I send. Reply with the improved text only."),
    }
)
"""Name to instructions."""
