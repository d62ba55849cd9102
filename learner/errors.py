"""What can go wrong in the learner, each with a sentence for the person.

LearnerError
├── ModelError             no usable base model (model_folder.py)
├── PromptTooLongError     one message is longer than the context
├── PromptFormError        the chat template takes no such conversation
└── AdapterLoadError       a version's adapter folder can't be served
"""


class LearnerError(Exception):
    """Base of all; the message says what to do."""


class PromptTooLongError(LearnerError):
    """Even without any earlier turn the prompt does not fit."""


class PromptFormError(LearnerError):
    """The model's chat template does not take a conversation of this form."""


class AdapterLoadError(LearnerError):
    """A version's adapter folder is broken; the version served before still speaks.

    ``version`` is the number of the broken one, where it is known: the live version, or another
    that was to speak beside it. Raise it from what kept the folder from being loaded.
    """

    def __init__(self, message: str, *, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version

    @property
    def may_pass(self) -> bool:
        """Whether the system refused, not the adapter: too many open files, no memory, a disk that
        is away. Then a folder that is as it was left may be loaded another time."""
        return isinstance(self.__cause__, OSError | MemoryError)
