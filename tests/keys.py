"""Conversations that may train, for tests about learning: one in ten is held out by its key."""

from storage.conversation_rows import is_held_out, random_key


def teaching_key() -> str:
    while is_held_out(key := random_key()):
        pass
    return key
