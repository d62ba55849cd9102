"""What PPO replies to, and what its PTX term holds on to: stored messages, and files of rows."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from learner.phases.dialogues import LeftOut, read_dialogues
from learner.phases.place import Place
from learner.phases.protocol import PhaseError
from learner.phases.sft import stored_dialogues
from learner.phases.texts import prompt_of, rows_of
from learner.rendering import prompt_ids
from learner.updates.lesson import Demonstration, Prompt
from storage.feedback import FeedbackReader

_ROW = '{"prompt": "..."}, perhaps with "history", or {"messages": [...]} that end with the user'

MOST_STORED = 1000
"""Messages of the data folder that are replied to, the newest ones."""


def read_prompts(
    place: Place, files: Sequence[Path], *, sets: Sequence[str], stored: bool
) -> list[Prompt]:
    """What is stored, then what the files hold, each once. Raises PhaseError naming the line."""
    found: dict[Prompt, None] = {}
    if stored:
        pools = FeedbackReader(place.store).pools(limit=MOST_STORED)
        found.update((pool.prompt, None) for pool in pools)
    for where, row in rows_of(files, sets):
        try:
            found[prompt_of(row)] = None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PhaseError(f"{where}: expected {_ROW} ({error}).") from error
    return list(found)


def fitting(place: Place, prompts: Sequence[Prompt], max_tokens: int) -> list[Prompt]:
    tokenizer = place.engine.backbone.tokenizer
    return [prompt for prompt in prompts if len(prompt_ids(tokenizer, prompt)) <= max_tokens]


def split_prompts(prompts: Sequence[Prompt], held_out: int) -> tuple[list[Prompt], list[Prompt]]:
    """Those to train on and those that measure: the first by a hash, at most a third of all."""
    order = sorted(prompts, key=lambda p: hashlib.sha256(repr(p).encode()).digest())
    count = min(held_out, len(order) // 3)
    measuring = set(order[:count])
    return [p for p in prompts if p not in measuring], order[:count]


def read_demonstrations(
    place: Place,
    files: Sequence[Path],
    *,
    sets: Sequence[str],
    stored: bool,
    clean: bool,
    max_prompt_tokens: int,
) -> tuple[list[Demonstration], Counter[LeftOut]]:
    """What people wrote, for the PTX term, of a dialogue its last reply; and what is left out."""
    read = read_dialogues(files, sets=sets, clean=clean)
    left_out = Counter(read.left_out)
    backbone = place.engine.backbone
    most = backbone.context_tokens - len(backbone.end_ids)
    found: list[Demonstration] = []
    for one in [*(stored_dialogues(place) if stored else []), *read.dialogues]:
        if one.held_out:
            continue
        reply = one.messages[one.learned[-1]].content
        ids = backbone.reply_ids(reply)
        prompt_tokens = len(prompt_ids(backbone.tokenizer, one.prompt))
        fits = prompt_tokens + len(ids) <= min(2 * max_prompt_tokens, most)
        if fits and prompt_tokens <= max_prompt_tokens:
            found.append(Demonstration(prompt=one.prompt, reply_ids=(*ids, *backbone.end_ids)))
        else:
            left_out[LeftOut.TOO_LONG] += 1
    return found, left_out


def digest_of(reward_sha256: str, *parts: Sequence[object]) -> str:
    """Of the reward and of all that is learned from, in order."""
    digest = hashlib.sha256(reward_sha256.encode())
    for part in parts:
        digest.update(repr(list(part)).encode())
    return digest.hexdigest()
