"""From a message to what is shown, on a real, tiny model."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from threading import Event

import pytest
import torch

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, AskMode, QueryRule, RewardConfig
from learner.early_pick import EarlyPick
from learner.errors import PromptTooLongError
from learner.features import FrozenFeatures
from learner.protocols import ReplyMaker, Stage
from learner.reward.head import BayesianRewardHead
from learner.styles import STYLES
from storage.records import (
    AskReason,
    Candidate,
    CandidatePool,
    Choice,
    FinishReason,
    RatedReply,
    Thumb,
)
from tests.learner.conftest import SAMPLING, user
from tests.learner.test_reward_head import brevity_picks, opposite, pick


@pytest.fixture
def make(engine):
    def build(*, hidden_components: int = 32, **ask) -> AskingReplyMaker:
        settings = {"commit_after_tokens": 6} | ask
        return AskingReplyMaker(
            engine=engine,
            features=FrozenFeatures(engine),
            reward=BayesianRewardHead(RewardConfig(hidden_components=hidden_components), seed=0),
            ask=AskConfig(**settings),
            sampling=SAMPLING,
        )

    return build


def speak(replies, base, *, seed=0, cancel=None, text="Hello"):
    drafts = []
    plan = replies.reply(user(text), base, seed, drafts.append, cancel or Event())
    return plan, drafts


def test_it_is_a_reply_maker(make):
    assert isinstance(make(), ReplyMaker)


def test_the_first_turns_show_a_pair_and_the_others_are_finished_for_the_learner(make, base):
    plan, drafts = speak(make(), base)
    others = plan.finish_others(Event())
    assert len(plan.shown) == 2
    assert plan.question is not None
    assert len(others) == 2
    everyone = [*plan.shown, *others]
    assert all(c.finish_reason is not FinishReason.ABORTED for c in everyone)
    assert all(c.feature is not None and c.reward_std is not None for c in everyone)
    assert len({c.seed for c in everyone}) == 4
    assert drafts[-1].texts == tuple(c.text for c in plan.shown)


def test_drafts_are_unseen_until_it_is_decided_what_to_show(make, base):
    _, drafts = speak(make(), base)
    stages = [d.stage for d in drafts]
    assert stages == sorted(stages, key=[Stage.DRAFTING, Stage.STREAMING].index)
    assert all(not d.texts for d in drafts if d.stage is Stage.DRAFTING)
    shown = [d.texts for d in drafts if d.stage is Stage.STREAMING]
    for before, after in pairwise(shown):
        assert all(b.startswith(a) for a, b in zip(before, after, strict=True))


def test_never_asking_shows_one(make, base):
    plan, _ = speak(make(mode=AskMode.NEVER), base)
    assert len(plan.shown) == 1
    assert plan.question is None
    assert len(plan.finish_others(Event())) == 3


def test_a_seed_repeats_the_turn(make, base):
    one, _ = speak(make(), base, seed=3)
    other, _ = speak(make(), base, seed=3)
    assert one.shown == other.shown
    assert one.question == other.question
    assert speak(make(), base, seed=4)[0].shown != one.shown


def test_stopping_keeps_one_unfinished_reply_and_asks_nothing(make, base):
    cancel = Event()
    drafts = []

    def emit(draft):
        drafts.append(draft)
        if draft.stage is Stage.STREAMING:
            cancel.set()

    plan = make().reply(user("Hello"), base, 0, emit, cancel)
    assert plan.question is None
    assert [c.finish_reason for c in plan.shown] == [FinishReason.ABORTED]
    assert plan.finish_others(Event()) == ()
    assert sum(d.stage is Stage.STREAMING for d in drafts) == 1


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND])
def test_a_choice_while_both_are_written_cuts_the_other_one(make, base, choice):
    early, read = EarlyPick(), []

    def emit(draft):
        if draft.stage is Stage.STREAMING:
            read.append(draft.texts)
            early.take(choice)

    replies = make()
    plan = replies.reply(user("Hello"), base, 0, emit, Event(), early=early)
    assert plan.picked is choice and plan.question is not None
    chosen, cut = plan.shown if choice is Choice.FIRST else plan.shown[::-1]
    assert chosen.finish_reason is not FinishReason.ABORTED
    # Both could be read from the first words on; then the chosen one ran on alone.
    assert len(read[0]) == 2 and all(read[0])
    assert all(len(texts) == 1 for texts in read[1:])
    assert read[-1] == (chosen.text,)
    assert cut.finish_reason is FinishReason.ABORTED
    assert cut.text == read[0][0 if choice is Choice.SECOND else 1]
    others = plan.finish_others(Event())
    assert len(others) == 2
    assert replies._styles.worth(None), "what the styles did is seen in the drafts"
    assert all(len(c.token_ids) <= 7 for c in others if c.finish_reason is FinishReason.ABORTED)


def test_a_question_skipped_while_it_is_written_is_none(make, base):
    early, read = EarlyPick(), []

    def emit(draft):
        if draft.stage is Stage.STREAMING:
            read.append(draft.texts)
            early.take(Choice.SKIP)

    plan = make().reply(user("Hello"), base, 0, emit, Event(), early=early)
    assert plan.question is None and plan.picked is None
    [shown] = plan.shown
    assert shown.finish_reason is not FinishReason.ABORTED
    assert shown.text.startswith(read[0][0])
    others = plan.finish_others(Event())
    assert len(others) == 3
    # The longest draft alone could have been complete by then.
    assert FinishReason.ABORTED in {c.finish_reason for c in others}


def test_both_replies_grow_side_by_side_and_become_the_question(make, base):
    plan, drafts = speak(make(), base)
    read = [d.texts for d in drafts if d.stage is Stage.STREAMING]
    assert all(len(texts) == 2 and all(texts) for texts in read)
    assert read[-1] == tuple(c.text for c in plan.shown)
    assert len({texts[0] for texts in read}) > 1 or len({texts[1] for texts in read}) > 1


def test_an_early_pick_is_the_first_that_is_said():
    early = EarlyPick()
    assert early.choice is None and early.decision_ms == 0
    with pytest.raises(ValueError, match="whole"):
        early.take(Choice.TIE)
    early.shown()
    early.take(Choice.SECOND)
    early.take(Choice.FIRST)
    assert early.choice is Choice.SECOND and early.decision_ms >= 0


def test_where_no_answer_could_teach_nothing_is_asked(make, base):
    replies = make()
    plan = replies.reply(user("Hello"), base, 0, lambda _: None, Event(), may_ask=False)
    assert len(plan.shown) == 1 and plan.question is None
    assert len(plan.finish_others(Event())) == 3


def test_a_persons_text_is_read_as_the_policy_would_have_sampled_it(make, base):
    replies = make(mode=AskMode.NEVER)
    sampled = speak(replies, base)[0].shown[0]
    read = replies.written(user("Hello"), sampled.text, base)
    tokenizer = replies.engine.backbone.tokenizer
    assert list(read.token_ids) == tokenizer(sampled.text, add_special_tokens=False)["input_ids"]
    assert read.finish_reason is FinishReason.STOP
    assert read.feature is not None and read.reward_mean is not None
    if read.token_ids == sampled.token_ids:  # a tokenizer may split a sampled text otherwise
        assert read.logprobs == pytest.approx(sampled.logprobs, abs=1e-4)
    with pytest.raises(PromptTooLongError, match="too long to learn from"):
        replies.written(user("Hello"), "word " * 5000, base)


def test_a_reply_that_was_cut_off_is_written_on_to_its_end(make, base):
    replies = make()
    drafts = []
    plan = replies.go_on(user("Hello"), "One two ", base, 3, drafts.append, Event())
    [whole] = plan.shown
    assert plan.question is None and plan.finish_others(Event()) == ()
    assert whole.text.startswith("One two") and len(whole.text) > len("One two")
    assert whole.finish_reason is not FinishReason.ABORTED
    assert len(whole.token_ids) == len(whole.logprobs) and whole.feature is not None
    assert drafts[-1].texts == (whole.text,)
    again = replies.go_on(user("Hello"), "One two ", base, 3, lambda _: None, Event())
    assert again.shown == plan.shown
    other = replies.go_on(user("Hello"), "Nine ten ", base, 3, lambda _: None, Event()).shown[0]
    assert other.text.startswith("Nine ten")
    stop = Event()
    stop.set()
    [cut] = replies.go_on(user("Hello"), "One two", base, 3, lambda _: None, stop).shown
    assert cut.text == "One two" and cut.finish_reason is FinishReason.ABORTED


def test_others_stay_unfinished_when_somebody_waits(make, base):
    plan, _ = speak(make(mode=AskMode.NEVER), base)
    hurry = Event()
    hurry.set()
    kept = plan.finish_others(hurry)
    whole, _ = speak(make(mode=AskMode.NEVER), base)
    finished = whole.finish_others(Event())
    assert len(kept) == 3
    for short, long in zip(kept, finished, strict=True):
        assert long.token_ids[: len(short.token_ids)] == short.token_ids


def test_a_reply_that_gives_its_hidden_style_away_is_never_seen_or_kept(make, base, monkeypatch):
    styled = speak(make(), base, seed=5)[0]
    assert any(c.style for c in (*styled.shown, *styled.finish_others(Event())))
    monkeypatch.setattr(
        "learner.presentable.echoing", lambda some: [i for i, c in enumerate(some) if c.style]
    )
    for rule in (QueryRule.REGRET_AWARE, QueryRule.RANDOM):
        asked = 0
        for seed in range(5, 17):
            plan, _ = speak(make(mode=AskMode.ALWAYS, query=rule), base, seed=seed)
            asked += plan.question is not None
            assert not any(c.style for c in plan.shown)
            others = plan.finish_others(Event())
            assert not any(c.style for c in others)
            assert len(plan.shown) + len(others) == 2
        assert asked > 3


def test_near_duplicates_are_never_a_question(make, base):
    replies = make()
    greedy = replace(SAMPLING, temperature=0.0)  # all four candidates become the same text
    replies.configure(AskConfig(commit_after_tokens=6, styled=0), greedy)
    plan, _ = speak(replies, base)
    assert plan.question is None
    assert len(plan.shown) == 1


def test_a_refit_changes_what_is_shown_next(make, base):
    replies = make(mode=AskMode.NEVER, candidates=8, styled=0)
    plan, _ = speak(replies, base, seed=1)
    others = plan.finish_others(Event())
    ranked = sorted([*plan.shown, *others], key=lambda c: len(c.token_ids))
    picks = [pick(ranked[0], other, Choice.FIRST) for other in ranked[1:] for _ in range(6)]
    replies.refit(picks)
    again, _ = speak(replies, base, seed=1)
    assert len(again.shown[0].token_ids) <= len(plan.shown[0].token_ids)
    rewards = {c.seed: c.reward_mean for c in (*again.shown, *again.finish_others(Event()))}
    assert max(rewards, key=rewards.get) == ranked[0].seed


@pytest.mark.parametrize("changed", [True, False])
def test_a_change_of_taste_brings_the_questions_back_also_after_a_restart(make, base, changed):
    old, new = brevity_picks(40), brevity_picks(10, seed=500)
    picks = [*old, *(opposite(new) if changed else new)]
    sure = {"hidden_components": 0, "min_disagreement": 0.5, "random_share": 0.0}
    replies = make(**sure)  # nothing is ever doubtful enough
    replies.refit(old)
    assert speak(replies, base)[0].question is None
    replies.refit(picks)
    restarted = make(**sure)
    restarted.resume([], [])
    restarted.refit(picks)
    for one in (replies, restarted):
        question = speak(one, base)[0].question
        assert (question is not None) == changed
        assert question is None or question.reason is AskReason.BURN_IN


def test_measuring_shows_what_a_person_would_see_and_moves_nothing(make, base):
    replies = make(mode=AskMode.NEVER, styled=0)
    prompts = [user("Hello"), user("Another, longer question"), user("Hm")]
    measured = replies.best_many(prompts, base, [0, 50, 90])
    for prompt, best, seed in zip(prompts, measured, (0, 50, 90), strict=True):
        plan = replies.reply(prompt, base, seed, lambda _: None, Event())
        assert best.shown.token_ids == plan.shown[0].token_ids
        assert best.plain.seed == seed


def test_half_of_the_candidates_are_told_a_style_that_none_of_the_rest_sees(make, base):
    replies = make()
    seen = set()
    for seed in range(5):
        plan, _ = speak(replies, base, seed=seed)
        everyone = [*plan.shown, *plan.finish_others(Event())]
        told = [c.style for c in everyone if c.style is not None]
        assert len(told) == 2 and len(everyone) == 4
        seen |= set(told)
        bare = [replace(c, style=None, reward_mean=None, reward_std=None) for c in everyone]
        anew = replies.score(user("Hello"), bare).mean(dim=0).tolist()
        assert anew == pytest.approx([c.reward_mean for c in everyone], abs=1e-3)
    assert seen == set(STYLES)  # each was tried once before any was tried twice


def pool(*replies):
    """What the log has of the candidates of one message."""
    candidates = (Candidate(id=i, prompt_turn_id=1, completion=c) for i, c in enumerate(replies))
    return CandidatePool(prompt_turn_id=1, prompt=user("Hello"), candidates=tuple(candidates))


def test_a_taste_for_a_style_makes_it_come_again_after_a_restart(make, base):
    replies = make(mode=AskMode.ALWAYS)
    picks, pools = [], []
    for seed in range(8):
        plan, _ = speak(replies, base, seed=seed)
        everyone = [*plan.shown, *plan.finish_others(Event())]
        plain = next(reply for reply in everyone if reply.style is None)
        for reply in everyone:
            if reply.style == "short":
                brief = replace(reply, text="No.", token_ids=(1,), logprobs=(0.0,))
                picks += [pick(brief, plain, Choice.FIRST)] * 8
                pools.append(pool(brief, plain))
    assert picks
    restarted = make(mode=AskMode.ALWAYS)
    restarted.resume([], pools)
    restarted.refit(picks)
    generator = torch.Generator().manual_seed(0)
    bandit = restarted._styles
    unknown = bandit.choose(len(STYLES), generator)
    assert unknown[-1].name == "short"  # the only one it knows
    assert bandit.choose(1, None)[0].name == "short"


def test_a_restart_forgets_nothing_of_what_the_styles_came_to(make, base):
    replies, restarted = make(mode=AskMode.ALWAYS), make(mode=AskMode.ALWAYS)
    pools = []
    for seed in range(6):
        plan, _ = speak(replies, base, seed=seed)
        pools.append(pool(*plan.shown, *plan.finish_others(Event())))
    picks = [pick(*(c.completion for c in one.candidates[:2]), Choice.FIRST) for one in pools]
    replies.refit(picks)
    restarted.resume([], pools)
    restarted.refit(picks)
    worth = replies._styles.worth(None)
    assert worth.keys() == set(STYLES)
    assert restarted._styles.worth(None) == pytest.approx(worth, rel=1e-4)
    reply = pools[0].candidates[0].completion
    draft = replace(
        reply,
        token_ids=reply.token_ids[:3],
        logprobs=reply.logprobs[:3],
        finish_reason=FinishReason.ABORTED,
    )
    forecast = replies.reward.lengths.expected(draft)
    assert restarted.reward.lengths.expected(draft) == forecast
    assert make().reward.lengths.expected(draft) != forecast


def test_a_thumb_changes_what_replies_are_worth(make, base):
    replies = make(mode=AskMode.NEVER, styled=0)
    plan, _ = speak(replies, base)
    shown, *others = [*plan.shown, *plan.finish_others(Event())]
    pair = pick(shown, others[0], Choice.TIE)
    replies.refit([pair])
    before = replies.score(user("Hello"), [shown, others[0]]).mean(dim=0)
    rated = RatedReply(
        prompt=user("Hello"), completion=shown, thumb=Thumb.DOWN, rated_at=datetime.now(UTC)
    )
    replies.refit([pair], [rated] * 5)
    after = replies.score(user("Hello"), [shown, others[0]]).mean(dim=0)
    assert after[0] - after[1] < before[0] - before[1]


def test_new_settings_count_from_the_next_reply_on(make, base):
    replies = make(mode=AskMode.ALWAYS)
    assert speak(replies, base)[0].question is not None
    quiet = AskConfig(mode=AskMode.NEVER, commit_after_tokens=6)
    replies.configure(quiet, replace(SAMPLING, max_new_tokens=5))
    plan, _ = speak(replies, base, seed=1)
    assert plan.question is None
    assert len(plan.shown[0].token_ids) <= 5
    assert plan.shown[0].sampling.max_new_tokens == 5
    assert replies.taste().keys() == replies.reward.style_weights.keys()
