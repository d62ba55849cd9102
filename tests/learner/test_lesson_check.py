"""Whether an update learned its lesson, on real steps of a tiny model."""

import math
from dataclasses import replace

import pytest
import torch

from learner.config import GateConfig
from learner.engine.backbone import TRAINING_VERSION
from learner.lesson_check import LessonCheck
from learner.measures import ScoredText, reply_logps
from learner.rendering import prompt_ids
from learner.updates.lesson import Lesson
from tests.learner.test_online_dpo import CONFIG, make_pairs, make_rule, margin_now, saved


@pytest.fixture
def check(backbone):
    return lesson_check(backbone, min_chosen_gain=-10.0)  # it is the margin that is looked at


def lesson_check(backbone, **settings):
    return LessonCheck(backbone, GateConfig(**settings), row_tokens=64, max_prompt_tokens=256)


@pytest.fixture
def rule(backbone):
    rule = make_rule(backbone, replace(CONFIG, steps=3))
    yield rule
    rule.close()


def test_a_lesson_learned_is_accepted(backbone, base, rule, check):
    pairs = make_pairs(backbone.tokenizer)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    verdict = check.judge(base, pairs)
    assert verdict.accepted, verdict.reason
    assert verdict.metrics["lesson_lift"] > 0.1


def test_the_opposite_lesson_is_not(backbone, base, rule, check):
    pairs = make_pairs(backbone.tokenizer, swapped=True)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    verdict = check.judge(base, make_pairs(backbone.tokenizer))
    assert not verdict.accepted
    assert "less likely" in verdict.reason
    assert verdict.metrics["lesson_lift"] < -0.1


def test_pairs_that_were_next_to_ties_are_not_looked_at(backbone, base, rule, check):
    pairs = make_pairs(backbone.tokenizer, swapped=True)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    ties = [replace(pair, chosen_prob=0.5) for pair in make_pairs(backbone.tokenizer)]
    verdict = check.judge(base, ties)
    assert verdict.accepted and verdict.reason == "no pair to look at"
    assert not check.judge(base, [*ties, *make_pairs(backbone.tokenizer)]).accepted


def test_the_lift_is_the_mean_change_of_the_margin_against_the_parent(
    backbone, base, rule, check, tmp_path
):
    pairs = make_pairs(backbone.tokenizer)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    parent = saved(rule, base, tmp_path / "1", 1)
    rule.update(parent, Lesson(pairs=tuple(pairs)), seed=2)
    after = margin_now(backbone, pairs)
    backbone.ensure_resident(parent)
    with backbone.speaking(parent.id):
        before = margin_now(backbone, pairs)
    lift = check.judge(parent, pairs).metrics["lesson_lift"]
    # A reply's end counts too, and replies in one row are packed: nearly the same, not exactly.
    assert lift == pytest.approx(float((after - before).mean()), rel=0.3)


def test_what_the_rule_has_seen_of_the_parent_is_not_run_again(backbone, base, rule, monkeypatch):
    pairs = make_pairs(backbone.tokenizer)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    plain = lesson_check(backbone).judge(base, pairs)
    knowing = LessonCheck(
        backbone, GateConfig(), row_tokens=64, max_prompt_tokens=256, known=rule.parent_logp
    )
    passes = []
    run = backbone.hidden_states
    monkeypatch.setattr(
        backbone, "hidden_states", lambda *a, **k: passes.append(backbone._active) or run(*a, **k)
    )
    verdict = knowing.judge(base, pairs)
    assert set(passes) == {TRAINING_VERSION}
    for name, value in plain.metrics.items():
        assert verdict.metrics[name] == pytest.approx(value, rel=1e-3)


def test_labels_count_as_much_as_they_are_sure(backbone, base, rule, check):
    pairs = make_pairs(backbone.tokenizer)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    wrong = [
        replace(p, chosen=p.rejected, rejected=p.chosen, chosen_prob=0.51)
        for p in make_pairs(backbone.tokenizer)
    ]
    assert check.judge(base, [*pairs, *wrong]).accepted
    sure = [replace(pair, chosen_prob=1.0) for pair in wrong]
    assert not check.judge(base, [pairs[0], *sure]).accepted


def test_what_was_picked_must_not_become_improbable(backbone, base, rule):
    pairs = make_pairs(backbone.tokenizer)
    unlearn(backbone, base, pairs)
    assert lesson_check(backbone, min_chosen_gain=-100.0).judge(base, pairs).accepted
    verdict = lesson_check(backbone).judge(base, pairs)
    assert not verdict.accepted
    assert "improbable" in verdict.reason


def unlearn(backbone, base, pairs) -> None:
    """Make what was picked improbable, and what was not even more so."""
    parameters = backbone.open_training(base, CONFIG.lora, 1)
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(10):
        loss = torch.zeros(())
        for pair in pairs:
            chosen, rejected = reply_logps(backbone, texts_of(backbone, pair))
            loss = loss + chosen + 2.0 * rejected
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def texts_of(backbone, pair) -> list[ScoredText]:
    return [
        ScoredText(
            prompt_ids=prompt_ids(backbone.tokenizer, pair.prompt),
            reply_ids=one.completion.token_ids,
        )
        for one in (pair.chosen, pair.rejected)
    ]


def test_weights_that_are_no_numbers_are_refused(backbone, base, rule, check):
    pairs = make_pairs(backbone.tokenizer)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    with torch.no_grad():
        for parameter in backbone.open_training(base, CONFIG.lora, 1):
            parameter.fill_(math.nan)
    verdict = check.judge(base, pairs)
    assert not verdict.accepted
    assert verdict.metrics == {}  # a report holds no number that is none


def test_nothing_to_look_at_is_accepted(backbone, base, rule, check):
    rule.update(base, Lesson(pairs=tuple(make_pairs(backbone.tokenizer))), seed=1)
    assert check.judge(base, []).accepted
