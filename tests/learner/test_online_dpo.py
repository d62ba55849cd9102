"""The update rule on a real, tiny model."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

import pytest
import torch

from learner.config import GateConfig
from learner.lesson_check import LessonCheck
from learner.measures import (
    ScoredText,
    kl_to_reference,
    perplexity,
    repetition,
    reply_logps,
    reply_room,
)
from learner.rendering import prompt_ids
from learner.update_config import DpoConfig, LoraSpec
from learner.updates import online_dpo
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.updates.pairs import TrainingPair
from learner.updates.passes import Passes
from storage.records import (
    Candidate,
    Completion,
    FinishReason,
    PolicyVersion,
    PolicyVersionId,
    Sampling,
)
from tests.learner.conftest import user

CONFIG = DpoConfig(
    learning_rate=2e-3, steps=1, row_tokens=64, lora=LoraSpec(rank=4, alpha=8), label_smoothing=0.0
)


def candidate(number: int, text: str, tokenizer) -> Candidate:
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    return Candidate(
        id=number,
        prompt_turn_id=1,
        completion=Completion(
            text=text,
            token_ids=ids,
            logprobs=(-1.0,) * len(ids),
            finish_reason=FinishReason.STOP,
            policy_version=0,
            seed=number,
            sampling=Sampling(),
        ),
    )


def make_pairs(tokenizer, n=4, *, swapped=False) -> list[TrainingPair]:
    pairs = []
    for i in range(n):
        good, bad = (
            candidate(2 * i, "yes" + "!" * i, tokenizer),
            candidate(2 * i + 1, "no, not at all, " * (1 + i % 2), tokenizer),
        )
        if swapped:
            good, bad = bad, good
        pairs.append(
            TrainingPair(prompt=user(f"Question {i}?"), chosen=good, rejected=bad, chosen_prob=1.0)
        )
    return pairs


def make_rule(backbone, config=CONFIG) -> OnlineDpo:
    return OnlineDpo(backbone, config, max_prompt_tokens=256)


def saved(rule, parent, folder, number) -> PolicyVersion:
    folder.mkdir()
    rule.save(folder)
    rule.close()
    return PolicyVersion(
        id=PolicyVersionId(number),
        parent=parent.id,
        adapter_path=folder,
        created_at=datetime.now(UTC),
    )


def margin_now(backbone, pairs) -> torch.Tensor:
    """log P(chosen) - log P(rejected) of the version that speaks, one a pair."""
    tokenizer = backbone.tokenizer
    with torch.no_grad():
        chosen, rejected = (
            reply_logps(
                backbone,
                [
                    ScoredText(
                        prompt_ids=prompt_ids(tokenizer, p.prompt),
                        reply_ids=getattr(p, side).completion.token_ids,
                    )
                    for p in pairs
                ],
            )
            for side in ("chosen", "rejected")
        )
    return chosen - rejected


def test_rounds_raise_what_was_chosen_over_what_was_not(backbone, base, tmp_path):
    pairs = make_pairs(backbone.tokenizer)
    before = margin_now(backbone, pairs)
    rule, version = make_rule(backbone), base
    for number in range(1, 6):
        rule.update(version, Lesson(pairs=tuple(pairs)), seed=number)
        version = saved(rule, version, tmp_path / str(number), number)
    backbone.ensure_resident(version)
    backbone.use(version.id)
    assert (margin_now(backbone, pairs) > before + 1.0).all()


def test_swapped_labels_teach_the_opposite(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    before = margin_now(backbone, pairs)
    rule = make_rule(backbone, replace(CONFIG, steps=5))
    rule.update(base, Lesson(pairs=tuple(make_pairs(backbone.tokenizer, swapped=True))), seed=1)
    assert (margin_now(backbone, pairs) < before).all()
    rule.close()


def test_the_parents_adapter_and_the_base_stay_as_they_are(backbone, base, tmp_path):
    pairs = make_pairs(backbone.tokenizer)
    at_base = margin_now(backbone, pairs)
    rule = make_rule(backbone)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    parent = saved(rule, base, tmp_path / "1", 1)
    bytes_before = (parent.adapter_path / "adapter_model.safetensors").read_bytes()
    rule.update(parent, Lesson(pairs=tuple(pairs)), seed=2)
    rule.close()
    assert (parent.adapter_path / "adapter_model.safetensors").read_bytes() == bytes_before
    torch.testing.assert_close(margin_now(backbone, pairs), at_base)


def test_the_same_seed_gives_the_same_weights(backbone, base, tmp_path):
    pairs = make_pairs(backbone.tokenizer)
    files = []
    for name in "ab":
        rule = make_rule(backbone)
        rule.update(base, Lesson(pairs=tuple(pairs)), seed=3)
        folder = saved(rule, base, tmp_path / name, 1).adapter_path
        files.append((folder / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_two_short_rounds_equal_one_long_one(backbone, base, tmp_path):
    pairs = make_pairs(backbone.tokenizer)
    long = make_rule(backbone, replace(CONFIG, steps=2))
    long.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    expected = margin_now(backbone, pairs)
    long.close()
    short = make_rule(backbone)
    short.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    middle = saved(short, base, tmp_path / "1", 1)
    # A fresh process would do the same.
    make_rule(backbone).update(middle, Lesson(pairs=tuple(pairs)), seed=1)
    torch.testing.assert_close(margin_now(backbone, pairs), expected, atol=1e-4, rtol=1e-4)


def test_minibatches_show_each_pair_once_before_any_twice(backbone, base, monkeypatch):
    pairs = make_pairs(backbone.tokenizer, 5)
    rule = make_rule(backbone, replace(CONFIG, steps=6, minibatch=2))
    seen: list[list[int]] = []
    step = rule._optimizer_step

    def watched(some):
        seen.append([pair.chosen.id for pair in some])
        return step(some)

    monkeypatch.setattr(rule, "_optimizer_step", watched)
    metrics = rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    rule.close()
    everything = [pair.chosen.id for pair in pairs]
    assert [len(some) for some in seen] == [2, 2, 1, 2, 2, 1]
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == everything
    assert everything != first != second
    assert metrics["pairs"] == 5
    assert metrics["steps"] == 6


def test_a_minibatch_of_all_pairs_is_the_whole_round(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    after = []
    for size in (None, len(pairs), 2):
        rule = make_rule(backbone, replace(CONFIG, steps=2, minibatch=size))
        rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
        after.append(margin_now(backbone, pairs))
        rule.close()
    whole, all_pairs, halves = after
    torch.testing.assert_close(all_pairs, whole)
    assert not torch.allclose(halves, whole, atol=1e-4)


def test_the_parents_view_is_noted_before_any_minibatch_moves_it(backbone, base):
    """The lesson's check sets what was learned against it."""
    pairs = make_pairs(backbone.tokenizer)
    noted = []
    for size in (None, 1):
        rule = make_rule(backbone, replace(CONFIG, steps=len(pairs), minibatch=size))
        rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
        rule.close()
        noted.append(rule.parent_logp)
    assert noted[1] == pytest.approx(noted[0], abs=1e-4)


def test_minibatches_repeat_with_their_seed(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    margins = []
    for seed in (3, 3, 4):
        rule = make_rule(backbone, replace(CONFIG, steps=3, minibatch=1))
        rule.update(base, Lesson(pairs=tuple(pairs)), seed=seed)
        margins.append(margin_now(backbone, pairs))
        rule.close()
    assert torch.equal(margins[0], margins[1])
    assert not torch.equal(margins[0], margins[2])


def test_a_minibatch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="minibatch must be at least 1 or None, got 0"):
        DpoConfig(minibatch=0)


def test_the_length_of_rows_does_not_change_the_step(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    margins = []
    for tokens in (1, 1000):
        rule = make_rule(backbone, replace(CONFIG, row_tokens=tokens))
        rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
        margins.append(margin_now(backbone, pairs))
        rule.close()
    # The mean difference, since real bugs shift all one way.
    assert float((margins[0] - margins[1]).mean()) == pytest.approx(0.0, abs=1e-4)


def test_a_loss_that_is_not_finite_ends_the_round(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    broken = [replace(p, chosen_prob=float("nan")) for p in pairs]
    with pytest.raises(FloatingPointError, match="norm is nan"):
        make_rule(backbone).update(base, Lesson(pairs=tuple(broken)), seed=1)


def test_padding_never_counts(backbone):
    texts = [
        ScoredText(prompt_ids=(5, 6, 7), reply_ids=(8, 9, 10, 11)),
        ScoredText(prompt_ids=(5,) * 20, reply_ids=(9,)),
        ScoredText(prompt_ids=(3,), reply_ids=tuple(range(30, 60))),
    ]
    with torch.no_grad():
        together = reply_logps(backbone, texts)
        alone = torch.cat([reply_logps(backbone, [t]) for t in texts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)


def test_kl_is_zero_for_the_base_and_positive_for_a_trained_adapter(backbone, base):
    texts = [ScoredText(prompt_ids=(5, 6, 7), reply_ids=(8, 9, 10, 11))]
    assert kl_to_reference(backbone, texts)[0] == pytest.approx(0.0, abs=1e-6)
    rule = make_rule(backbone, replace(CONFIG, steps=5))
    rule.update(base, Lesson(pairs=tuple(make_pairs(backbone.tokenizer))), seed=1)
    assert kl_to_reference(backbone, texts)[0] > 1e-4
    rule.close()


def test_perplexity_of_uniform_logits_is_the_vocabulary(backbone):
    backbone.lm_head.weight.data.zero_()
    assert perplexity(backbone, [1, 2, 3, 4, 5]) == pytest.approx(258.0, rel=1e-4)


def test_pulled_in_the_adapter_keeps_that_share_of_its_distance(backbone, base):
    pairs = make_pairs(backbone.tokenizer)
    before = margin_now(backbone, pairs)
    rule = make_rule(backbone, replace(CONFIG, steps=5))
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    deltas = adapter_deltas(backbone)
    after = margin_now(backbone, pairs)
    rule.pull_in(0.5)
    for whole, half in zip(deltas, adapter_deltas(backbone), strict=True):
        torch.testing.assert_close(half, 0.5 * whole)
    between = margin_now(backbone, pairs)
    assert ((between - before).abs() < (after - before).abs()).all()
    rule.pull_in(0.0)
    torch.testing.assert_close(margin_now(backbone, pairs), before, atol=1e-4, rtol=1e-4)
    rule.close()


def adapter_deltas(backbone):
    """B A of every module of the adapter in training."""
    tensors = backbone.training_lora().tensors
    return [
        (tensors[name.replace("lora_A", "lora_B")] @ a).detach().clone()
        for name, a in tensors.items()
        if "lora_A" in name
    ]


def test_one_emoji_over_and_over_is_repetition():
    assert repetition([7, 8] * 50) > 0.9
    assert repetition(tuple(range(100))) == 0.0


LONG_CHAT = user(*[f"{n} " + "word " * 6 for n in range(15)])


def with_limit(candidate: Candidate, limit: int) -> Candidate:
    completion = replace(candidate.completion, sampling=Sampling(max_new_tokens=limit))
    return replace(candidate, completion=completion)


def prompts_seen(monkeypatch) -> list[tuple[int, ...]]:
    """Filled with the prompts of all trees that are run."""
    seen = []
    real = online_dpo.tree_logps
    monkeypatch.setattr(
        online_dpo,
        "tree_logps",
        lambda backbone, trees: (
            seen.extend(tree.prompt_ids for tree in trees),
            real(backbone, trees),
        )[1],
    )
    return seen


def test_a_pair_is_learned_behind_the_prompt_it_was_drawn_behind(engine, base, monkeypatch):
    """The tiny model has 512 places: beside a long reply less of a long chat fits."""
    backbone, chat = engine.backbone, LONG_CHAT
    pair = replace(make_pairs(backbone.tokenizer, 1)[0], prompt=chat)
    pair = replace(pair, chosen=with_limit(pair.chosen, 350))
    drawn = engine.render(chat, Sampling(max_new_tokens=350))
    assert len(drawn.token_ids) <= 512 - 350
    seen = prompts_seen(monkeypatch)
    make_rule(backbone).update(base, Lesson(pairs=(pair,)), seed=1)
    assert set(seen) == {drawn.token_ids}
    read = Passes(backbone, row_tokens=64, max_prompt_tokens=256)
    assert read.prompt_ids(chat, reply_room(pair.chosen.completion)) == drawn.token_ids


def test_a_reply_of_two_pairs_is_learned_behind_one_prompt(backbone, base, monkeypatch):
    """Written again with a higher limit, a chat that was cut for the first pair is cut further."""
    tokenizer = backbone.tokenizer
    first = replace(make_pairs(tokenizer, 1)[0], prompt=LONG_CHAT)
    longer = with_limit(candidate(7, "yes and no", tokenizer), 350)
    again = replace(first, rejected=longer)
    rule, seen = make_rule(backbone), prompts_seen(monkeypatch)
    rule.update(base, Lesson(pairs=(first,)), seed=1)
    [alone] = set(seen)
    rule.close()
    seen.clear()
    metrics = rule.update(base, Lesson(pairs=(again, first)), seed=1)
    [together] = set(seen)
    assert len(together) < len(alone)
    assert metrics["dpo_margin"] == pytest.approx(0.0, abs=1e-4), "the first step starts at π₀"
    rule.close()
    rule.update(base, Lesson(pairs=(again, first)), seed=1)
    found = [
        LessonCheck(
            backbone, GateConfig(), row_tokens=64, max_prompt_tokens=256, known=known
        ).judge(base, (again, first))
        for known in (rule.parent_logp, None)
    ]
    assert found[0].metrics == pytest.approx(found[1].metrics, abs=1e-4)
    rule.close()
