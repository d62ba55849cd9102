"""What can go wrong in the learner, each with a sentence for the person.

LearnerError
├── ModelError             no usable base model (model_folder.py)
├── PromptTooLongError     one message is longer than the context
└── AdapterLoadError       a version's adapter folder can't be served
"""


class LearnerError(Exception):
    """Base of all; the message says what to do."""


class PromptTooLongError(LearnerError):
    """Even without any earlier turn the prompt does not fit."""


class AdapterLoadError(LearnerError):
    """A version's adapter folder is broken; the version served before still speaks."""
