"""Candidates that may not be shown: a turn goes as if they had never been drawn."""

from dataclasses import replace
from threading import Event

import pytest
import torch

from learner.config import AskMode, QueryRule, RewardConfig
from learner.presentable import LOOP_TOKENS, looping, presentable, textless
from learner.reward.head import BayesianRewardHead
from learner.updates.pairs import reward_pairs
from storage.records import AskReason, Candidate, CandidatePool, FinishReason
from tests.learner.canned import PARIS, brief
from tests.learner.conftest import user
from tests.learner.test_reward_head import H, brevity_picks, completion


def turn(replies, base, seed=0, **wishes):
    return replies.reply(user("Capital?"), base, seed, lambda _: None, Event(), **wishes)


def test_a_finished_reply_without_a_word_is_textless_and_a_running_one_is_not():
    said = completion(3, seed=1)
    nothing = replace(said, text=" \n")
    assert textless(nothing) and not textless(said)
    assert not textless(replace(nothing, finish_reason=FinishReason.ABORTED))
    echo = replace(said, text="Answer in one short sentence.", style="short")
    assert presentable([nothing, said, echo]) == [1]
    assert presentable([echo, nothing, nothing]) == [1, 2], "one has to be shown"


def repeating(words: int, every: int):
    """A reply whose tokens come again after ``every``."""
    said = completion(words, seed=1)
    return replace(said, token_ids=tuple(i % every for i in range(words)))


def test_a_long_reply_that_says_the_same_again_and_again_loops():
    assert looping(repeating(60, 3))
    assert not looping(repeating(60, 40)), "a list may come back to its words"
    assert not looping(repeating(LOOP_TOKENS - 1, 1)), "no, no, no"
    assert looping(replace(repeating(60, 3), finish_reason=FinishReason.ABORTED)), "a draft"


def test_loops_are_shown_only_where_all_that_say_a_word_loop():
    loop, said = repeating(60, 2), completion(9, seed=2)
    nothing = replace(said, text="")
    assert presentable([loop, said, nothing]) == [1]
    assert presentable([loop, nothing]) == [0]
    assert presentable([nothing]) == [0]


@pytest.mark.parametrize("mode", [AskMode.NEVER, AskMode.ALWAYS])
def test_an_empty_reply_is_neither_shown_nor_kept_however_brief_it_is(base, mode):
    for place in range(4):
        texts = [*PARIS[:place], "", *PARIS[place:]]
        replies = brief(*texts, mode=mode)
        for seed in range(0, 60, 10):
            plan = turn(replies, base, seed)
            assert (plan.question is None) == (mode is AskMode.NEVER)
            everyone = [*plan.shown, *plan.finish_others(Event())]
            assert sorted(one.text for one in everyone) == sorted(PARIS)
        [best] = replies.best_many([user("Capital?")], base, [0])
        assert best.shown.text == "It is Paris."


@pytest.mark.parametrize("rule", list(QueryRule))
def test_a_turn_is_what_it_would_be_without_what_may_not_be_shown(base, rule):
    asks = {"picks": 2, "query": rule, "mode": AskMode.AUTO, "burn_in": 0, "random_share": 0.2}
    for text in range(6):
        words = [f"word{(7 * text + i) % 50}" for i in range(60)]
        fit = [" ".join(words[i : i + length]) for i, length in enumerate((5, 40, 12, 26))]
        alone = brief(*fit, **asks)
        among = brief(*fit[:text], "", *fit[text:], **asks)
        [best] = among.best_many([user("Capital?")], base, [0])
        assert best.shown.text == alone.best_many([user("Capital?")], base, [0])[0].shown.text
        for seed in range(0, 100, 10):
            plan, expected = turn(among, base, seed), turn(alone, base, seed)
            assert [c.text for c in plan.shown] == [c.text for c in expected.shown]
            assert plan.question == expected.question


def test_where_nobody_says_a_word_the_turn_ends_without_a_question(base):
    plan = turn(brief("", " ", ""), base)
    assert plan.question is None
    assert not plan.shown[0].text.strip()
    assert len(plan.finish_others(Event())) == 2


def test_an_empty_sample_of_the_live_version_does_not_duel(base):
    for texts, reason in ((("", *PARIS), AskReason.ALWAYS), ((*PARIS, ""), AskReason.DUEL)):
        replies = brief(*texts, mode=AskMode.ALWAYS, duel_share=1.0)
        assert turn(replies, base, rival=base).question.reason is reason


def test_an_empty_reply_becomes_no_training_pair():
    reward = BayesianRewardHead(RewardConfig(), seed=0)
    reward.fit(brevity_picks(16))
    nothing = replace(completion(0, seed=1), text="", feature=bytes(2 * H))

    def pairs(*replies):
        candidates = [
            Candidate(id=i, prompt_turn_id=1, completion=c) for i, c in enumerate(replies)
        ]
        pool = CandidatePool(prompt_turn_id=1, prompt=user("New"), candidates=tuple(candidates))
        return reward_pairs([pool], reward, 8, torch.Generator().manual_seed(0))

    short, long = completion(10, seed=2), completion(90, seed=3)
    [pair] = pairs(nothing, long, short)
    assert (pair.chosen.completion, pair.rejected.completion) == (short, long)
    assert pairs(nothing, nothing) == pairs(nothing, short) == []
    loop = replace(repeating(60, 2), text="Ha!")  # brief to read, so the judges like it
    [pair] = pairs(loop, long, short)
    assert (pair.chosen.completion, pair.rejected.completion) == (short, long)
