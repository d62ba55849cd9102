"""Ready-made instructions for a chat."""

NO_PRESET = "None"

PRESETS = {
    NO_PRESET: "",
    "Short": "Answer in one to three sentences. Leave out greetings and closing remarks.",
    "Step by step": "Explain step by step, in a numbered list, one idea for each step.",
    "Plain words": "Use plain, everyday words and short sentences. Explain every technical term.",
    "Editor": "Improve the wording of what I send. Reply with the improved text only.",
}
