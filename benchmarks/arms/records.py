"""Stored records out of the material's JSON: what the learner is given in life."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from learner.updates.pairs import TrainingPair
from storage.records import (
    BASE_VERSION,
    AskReason,
    Candidate,
    CandidateId,
    Choice,
    Comparison,
    ComparisonId,
    Completion,
    ConversationId,
    FinishReason,
    Message,
    Preference,
    PreferenceId,
    Question,
    Role,
    Sampling,
    TurnId,
)

NOW = datetime.now(UTC)


def messages_of(one: dict[str, str]) -> tuple[Message, ...]:
    return (
        Message(role=Role.SYSTEM, content=one["system"]),
        Message(role=Role.USER, content=one["text"]),
    )


def candidate_of(number: int, turn: int, ids: list[int], feature: bytes | None) -> Candidate:
    return Candidate(
        id=CandidateId(number),
        prompt_turn_id=TurnId(turn),
        completion=Completion(
            text=" ".join(f"word{one}" for one in ids),
            token_ids=tuple(ids),
            logprobs=(-1.0,) * len(ids),
            finish_reason=FinishReason.LENGTH,
            policy_version=BASE_VERSION,
            seed=number,
            sampling=Sampling(),
            feature=feature,
        ),
    )


def preferences_of(path: str, count: int, feature_width: int, base: int = 1) -> list[Preference]:
    """Answers to ``count`` pairs, features random; ids count from ``base``."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    rng = np.random.default_rng(base)
    answers = []
    for place in range(count):
        one, number = found[place % len(found)], base + place
        features = rng.standard_normal((2, feature_width)).astype("<f2")
        sides = [
            candidate_of(2 * number + i, number, one[side], features[i].tobytes())
            for i, side in enumerate(("chosen", "rejected"))
        ]
        comparison = Comparison(
            id=ComparisonId(number),
            token=f"{number:043d}",
            conversation_id=ConversationId(number),
            prompt_turn_id=TurnId(number),
            prompt=messages_of(one),
            first=sides[0],
            second=sides[1],
            question=Question(
                reason=AskReason.ALWAYS, propensity=1.0, disagreement=0.1, first_better_prob=0.5
            ),
            asked_at=NOW,
        )
        answers.append(
            Preference(
                id=PreferenceId(number),
                comparison=comparison,
                choice=Choice.FIRST if number % 3 else Choice.SECOND,
                decision_ms=1500,
                decided_at=NOW,
            )
        )
    return answers


def training_pairs(path: str, count: int, first: int = 0) -> list[TrainingPair]:
    """``count`` pairs from place ``first`` on, of labels that are certain."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    result = []
    for place in range(first, first + count):
        one = found[place % len(found)]
        result.append(
            TrainingPair(
                prompt=messages_of(one),
                chosen=candidate_of(2 * place, place, one["chosen"], None),
                rejected=candidate_of(2 * place + 1, place, one["rejected"], None),
                chosen_prob=1.0,
            )
        )
    return result
