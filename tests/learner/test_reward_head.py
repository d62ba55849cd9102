"""The reward ensemble on picks as they are stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pytest
import torch

from learner.config import RewardConfig
from learner.reward.components import Components, principal_components
from learner.reward.head import BayesianRewardHead, tie_strength
from learner.reward.rows import RowWriter
from learner.reward.signals import Ordered, Thumb
from learner.reward.style import STYLE_NAMES, STYLE_SCALES, style_features
from learner.reward.taste import Taste
from storage.records import (
    AskReason,
    Candidate,
    Choice,
    Comparison,
    Completion,
    FinishReason,
    Preference,
    Question,
    Sampling,
)
from tests.learner.conftest import user

H = 24
_ids = count(1)


def completion(words: int, seed: int, *, finish=FinishReason.STOP, shift: float = 0.0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(H, generator=generator) + shift
    text = " ".join(f"word{(seed * 7 + i) % 50}" for i in range(words)) + "."
    return Completion(
        text=text,
        token_ids=tuple(range(words)),
        logprobs=(-1.0,) * words,
        finish_reason=finish,
        policy_version=0,
        seed=seed,
        sampling=Sampling(max_new_tokens=128),
        feature=hidden.half().numpy().tobytes(),
    )


def pick(first: Completion, second: Completion, choice: Choice) -> Preference:
    number = next(_ids)
    comparison = Comparison(
        id=number,
        token=f"{number:032}",
        conversation_id=1,
        prompt_turn_id=number,
        prompt=user("Tell me"),
        first=Candidate(id=2 * number, prompt_turn_id=number, completion=first),
        second=Candidate(id=2 * number + 1, prompt_turn_id=number, completion=second),
        question=Question(
            reason=AskReason.BURN_IN, propensity=1.0, disagreement=0.3, first_better_prob=0.5
        ),
        asked_at=datetime.now(UTC),
    )
    return Preference(
        id=number,
        comparison=comparison,
        choice=choice,
        decision_ms=900,
        decided_at=datetime.now(UTC),
    )


def because(given: Preference, reason: AskReason) -> Preference:
    question = replace(given.comparison.question, reason=reason)
    return replace(given, comparison=replace(given.comparison, question=question))


def brevity_picks(n: int, *, seed: int = 0) -> list[Preference]:
    picks = []
    for i in range(n):
        short, long = completion(12, seed + 2 * i), completion(60, seed + 2 * i + 1)
        shown = (short, long, Choice.FIRST) if i % 2 else (long, short, Choice.SECOND)
        picks.append(pick(*shown))
    return picks


def head(**settings) -> BayesianRewardHead:
    return BayesianRewardHead(RewardConfig(**settings), seed=0)


def margin(reward: BayesianRewardHead, better: Completion, worse: Completion) -> torch.Tensor:
    rewards = reward.score(user("New"), [better, worse])
    return rewards[:, 0] - rewards[:, 1]


def test_it_learns_brevity_from_a_dozen_picks_and_can_say_so():
    reward = head()
    reward.fit(brevity_picks(12))
    assert (margin(reward, completion(10, 900), completion(70, 901)) > 0).float().mean() > 0.8
    assert min(reward.style_weights, key=reward.style_weights.get) == "longer"


def opposite(picks: list[Preference]) -> list[Preference]:
    other = {Choice.FIRST: Choice.SECOND, Choice.SECOND: Choice.FIRST}
    return [replace(p, choice=other[p.choice]) for p in picks]


def test_after_a_change_of_taste_only_newer_answers_count_also_after_a_restart():
    picks = [*brevity_picks(40), *opposite(brevity_picks(15, seed=500))]
    walked, restarted = head(), head()
    for n in (20, 40, 50, 55):
        walked.fit(picks[:n])
    restarted.fit(picks)
    assert walked.change_prob > 0.5
    assert 5 <= walked.answers <= 20
    assert restarted.answers == walked.answers


def test_while_taste_stays_every_answer_counts_and_a_skip_none():
    reward = head()
    picks = brevity_picks(40)
    for n in range(10, 41, 5):
        reward.fit(picks[:n])
        assert reward.answers == n
    skip = replace(brevity_picks(1, seed=900)[0], choice=Choice.SKIP)
    reward.fit([*picks, skip])
    assert reward.answers == 40


def test_before_any_pick_it_has_doubts_and_no_opinion():
    drawn = margin(head(draws=512), completion(10, 1), completion(70, 2))
    assert abs(float(drawn.mean())) < 0.2 * float(drawn.std())


def test_picks_shrink_the_disagreement():
    reward = head(hidden_components=0)
    pair = completion(10, 900), completion(70, 901)
    reward.fit(brevity_picks(4))
    few = torch.sigmoid(margin(reward, *pair)).std()
    reward.fit(brevity_picks(60))
    assert torch.sigmoid(margin(reward, *pair)).std() < 0.75 * few


def test_hidden_states_are_learned_where_style_is_equal():
    reward = head()
    picks = []
    for i in range(60):
        liked, other = completion(30, 500 + i, shift=1.0), completion(30, 800 + i, shift=-1.0)
        shown = (liked, other, Choice.FIRST) if i % 2 else (other, liked, Choice.SECOND)
        picks.append(pick(*shown))
    reward.fit(picks)
    style_only = head(hidden_components=0)
    style_only.fit(picks)
    new = completion(30, 7000, shift=1.0), completion(30, 7001, shift=-1.0)
    assert margin(reward, *new).mean() > 1.0
    assert margin(reward, *new).mean() > margin(style_only, *new).mean() + 1.0


def test_refits_repeat_exactly_and_forget_withdrawn_picks():
    picks = brevity_picks(20)
    pair = completion(10, 900), completion(70, 901)
    one, other = head(), head()
    one.fit(picks[:10])
    other.fit(picks)
    other.fit(picks[:10])
    torch.testing.assert_close(margin(one, *pair), margin(other, *pair), atol=1e-5, rtol=1e-5)


def test_always_picking_the_first_is_put_down_to_its_place():
    reward = head(position_prior_std=1.0)
    picks = [
        pick(completion(30, 2 * i), completion(30, 2 * i + 1), Choice.FIRST) for i in range(80)
    ]
    reward.fit(picks)
    assert reward.position_weight > 1.0


def test_ties_pull_together_and_skips_teach_nothing():
    base_picks = brevity_picks(10)
    ties = [replace(p, choice=Choice.TIE) for p in brevity_picks(30, seed=300)]
    skips = [replace(p, choice=Choice.SKIP) for p in brevity_picks(30, seed=300)]
    pair = completion(12, 900), completion(60, 901)
    plain, tied, skipped = (
        head(hidden_components=0),
        head(hidden_components=0),
        head(hidden_components=0),
    )
    plain.fit(base_picks)
    tied.fit(base_picks + ties)
    skipped.fit(base_picks + skips)
    assert margin(tied, *pair).mean() < 0.5 * margin(plain, *pair).mean()
    torch.testing.assert_close(margin(skipped, *pair), margin(plain, *pair))


def test_both_bad_puts_both_below_what_is_usual():
    reward = head(hidden_components=0)
    usual = brevity_picks(6)
    awful = [
        pick(completion(110, 3000 + i), completion(112, 3100 + i), Choice.BOTH_BAD)
        for i in range(6)
    ]
    before = head(hidden_components=0)
    before.fit([replace(p, choice=Choice.TIE) for p in usual])
    reward.fit([replace(p, choice=Choice.TIE) for p in usual] + awful)
    pair = completion(30, 900), completion(110, 901)
    assert margin(reward, *pair).mean() > margin(before, *pair).mean() + 0.2


def test_both_bad_is_one_thing_said_and_writes_two_rows():
    writer = RowWriter(
        config=RewardConfig(), phi_of=lambda _, reply, __: np.ones(2) * len(reply.text), style=1
    )
    picks = brevity_picks(3)
    picks[1] = replace(picks[1], choice=Choice.BOTH_BAD)
    assert len(writer.write(picks, [])) == 4
    assert writer.starts == (0, 1, 3)


def test_a_draft_is_scored_at_the_length_it_is_expected_to_reach():
    reward = head(hidden_components=0)
    reward.fit(brevity_picks(30))
    finished = completion(20, 1)
    draft = replace(completion(20, 2), text=finished.text, finish_reason=FinishReason.ABORTED)
    assert margin(reward, finished, draft).mean() > 0.5


def test_permuting_candidates_permutes_their_rewards():
    reward = head()
    reward.fit(brevity_picks(12))
    three = [completion(10, 1), completion(40, 2), completion(80, 3)]
    rewards = reward.score(user("New"), three)
    torch.testing.assert_close(reward.score(user("New"), three[::-1]), rewards.flip(1))


def test_a_completion_without_its_feature_is_refused():
    reward = head()
    reward.fit(brevity_picks(12))
    with pytest.raises(ValueError, match="no feature"):
        reward.score(user("New"), [replace(completion(10, 1), feature=None)])


def test_each_style_feature_moves_with_what_it_names():
    pairs = {
        "longer": ("one two", "one two three four five six seven"),
        "more list items": ("a b", "- a\n- b\n3. c"),
        "more paragraphs": ("a b", "a\n\nb\n\nc"),
        "more questions": ("a.", "a? b?"),
        "more exclamation marks": ("a.", "a! b!"),
        "more repetition": ("a b c d", "a b a b a b"),
        "more words of the question": ("nothing here", "tell me tell me"),
        "refuses": ("Sure.", "I'm sorry, I cannot do that."),
        "longer words": ("a be it", "extraordinary circumstances"),
        "more polite phrases": ("Do it.", "Thank you, I am happy to help, please go on."),
        "more hedging": ("It is so.", "Maybe it might be, perhaps."),
        "more contractions": ("It is. I do not 'say' so.", "It\u2019s so, I don't."),
    }
    for name, (little, much) in pairs.items():
        place = STYLE_NAMES.index(name)
        low, high = (style_features(user("Tell me"), text)[place] for text in (little, much))
        assert high > low, name
    ends = [
        style_features(user("x"), "a", finished=f)[STYLE_NAMES.index("comes to an end")]
        for f in (0.0, 1.0)
    ]
    assert ends[1] > ends[0]
    assert set(pairs) | {"comes to an end"} == set(STYLE_SCALES)


def hours(n: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n)


def test_thumbs_up_on_long_replies_are_a_taste_for_long_ones():
    reward = head(hidden_components=0)
    usual = [replace(p, choice=Choice.TIE, decided_at=hours(0)) for p in brevity_picks(6)]
    thumbs = [
        Thumb(
            prompt=user("Tell me"),
            completion=completion(80 if up else 8, 4000 + 2 * i + up),
            up=bool(up),
            at=hours(1 + i),
        )
        for i in range(8)
        for up in (0, 1)
    ]
    reward.fit(usual, thumbs)
    assert margin(reward, completion(80, 900), completion(10, 901)).mean() > 0.3


def test_thumbs_that_all_go_up_say_little_about_taste():
    reward = head(hidden_components=0)
    usual = [replace(p, choice=Choice.TIE, decided_at=hours(0)) for p in brevity_picks(6)]
    prompt = user("Tell me")
    up = [
        Thumb(prompt=prompt, completion=completion(36, 4000 + i), up=True, at=hours(1 + i))
        for i in range(10)
    ]
    reward.fit(usual, up)
    assert abs(margin(reward, completion(60, 900), completion(20, 901)).mean()) < 0.3


def test_a_rewritten_reply_is_better_than_what_it_replaced():
    reward = head(hidden_components=0)
    reward.fit(
        [
            because(
                pick(completion(12, 5000 + i), completion(70, 6000 + i), Choice.FIRST),
                AskReason.EDITED,
            )
            for i in range(8)
        ]
    )
    assert margin(reward, completion(12, 900), completion(70, 901)).mean() > 1.0


@pytest.mark.parametrize("reason", [AskReason.IMPORTED, AskReason.EDITED, AskReason.WRITTEN])
def test_replies_of_files_and_people_do_not_say_how_long_drafts_become(reason):
    own = [pick(completion(60, 100 + i), completion(61, 200 + i), Choice.TIE) for i in range(30)]
    foreign = [
        because(pick(completion(120, 5000 + i), completion(127, 6000 + i), Choice.TIE), reason)
        for i in range(200)
    ]
    draft = completion(40, 1, finish=FinishReason.ABORTED)
    alone, with_files = head(), head()
    alone.fit(own)
    with_files.fit([*own, *foreign])
    assert with_files.lengths.expected(draft) == alone.lengths.expected(draft)
    assert with_files._writer._lengths.expected(draft) == alone._writer._lengths.expected(draft)


def test_a_basis_that_failed_is_tried_anew(monkeypatch):
    reward, picks = head(shipped_basis=False), brevity_picks(12)

    def fails(*_):
        raise torch.linalg.LinAlgError("it did not converge")

    with monkeypatch.context() as broken:
        broken.setattr("learner.reward.head.principal_components", fails)
        with pytest.raises(torch.linalg.LinAlgError):
            reward.fit(picks)
    reward.fit(picks)
    fresh = head(shipped_basis=False)
    fresh.fit(picks)
    pair = completion(10, 900), completion(70, 901)
    assert fresh._components is not None
    assert torch.equal(margin(reward, *pair), margin(fresh, *pair))


def test_words_written_later_do_not_change_what_was_said_before():
    picks, late = brevity_picks(30), brevity_picks(10, seed=500)
    bad = [replace(p, choice=Choice.BOTH_BAD) for p in brevity_picks(4, seed=700)]
    pair = completion(10, 900), completion(70, 901)
    grown, fresh = head(), head()
    grown.fit([*picks, *bad])
    grown.fit([*picks, *bad, *late])
    fresh.fit([*picks, *bad, *late])
    assert torch.equal(margin(grown, *pair), margin(fresh, *pair))


@pytest.mark.parametrize("shipped_basis", [True, False])
def test_a_pick_that_is_forgotten_might_never_have_been(shipped_basis):
    config = RewardConfig(hidden_components=8, shipped_basis=shipped_basis)
    picks = brevity_picks(45)
    pair = completion(10, 900), completion(70, 901)
    with_it = BayesianRewardHead(config, seed=0, taste=taste_of_direction())
    without = BayesianRewardHead(config, seed=0, taste=taste_of_direction())
    for n in (10, 33, 45):
        with_it.fit(picks[:n])
    with_it.fit(picks[:20] + picks[21:])
    without.fit(picks[:20] + picks[21:])
    assert torch.equal(margin(with_it, *pair), margin(without, *pair))


def early_picks(n: int) -> list[Preference]:
    """Choices while both were written: the other reply stopped where it was."""
    picks = []
    for i in range(n):
        whole = completion(10 + (37 * i) % 110, 2 * i)
        cut = completion(66, 2 * i + 1, finish=FinishReason.ABORTED)
        shown = (whole, cut, Choice.FIRST) if i % 2 else (cut, whole, Choice.SECOND)
        picks.append(pick(*shown))
    return picks


def test_what_was_written_after_an_early_choice_is_no_reason_for_it():
    """Both begin alike, the picked one runs on into a list, and the other stays where it was."""
    picks = []
    for i in range(40):
        begun = completion(60, i)
        text = begun.text + ("\n- so it is" * 60)[: len(begun.text)]
        whole = replace(
            begun,
            text=text,
            token_ids=begun.token_ids + (7,) * 60,
            logprobs=begun.logprobs + (-1.0,) * 60,
        )
        cut = completion(60, 1000 + i, finish=FinishReason.ABORTED)
        picks.append(pick(*((whole, cut, Choice.FIRST) if i % 2 else (cut, whole, Choice.SECOND))))
    reward = head(hidden_components=0)
    reward.fit(picks)
    assert abs(reward.style_weights["more list items"]) < 0.05
    assert abs(reward.style_weights["more repetition"]) < 0.05


def test_what_nobody_was_shown_is_no_usual_reply():
    """Imported pairs are long; "both bad" is said of replies that are as long as any here."""

    def picks(n, words, seed, choice=Choice.FIRST):
        both = [
            (completion(words, seed + i), completion(words + 1, seed + 50 + i)) for i in range(n)
        ]
        return [pick(*one, choice) for one in both]

    read = [because(one, AskReason.IMPORTED) for one in picks(20, 400, 0)]
    here = picks(8, 40, 200) + picks(9, 40, 400, Choice.BOTH_BAD)
    with_file, alone = head(hidden_components=0), head(hidden_components=0)
    with_file.fit([*read, *here])
    alone.fit(here)
    longer = [one.style_weights["longer"] for one in (with_file, alone)]
    assert longer[0] == pytest.approx(longer[1], abs=0.1)


def test_what_is_learned_of_replies_that_were_cut_follows_from_the_picks_alone():
    picks = early_picks(40)
    pair = completion(20, 900), completion(80, 901)
    walked, served, fresh = head(), head(), head()
    for n in range(5, 41, 5):
        walked.fit(picks[:n])
    for length in range(60, 120):
        served.lengths.observe(completion(length, 5000 + length))  # replies that nobody compared
    served.fit(picks)
    fresh.fit(picks)
    assert torch.equal(margin(walked, *pair), margin(fresh, *pair))
    assert torch.equal(margin(served, *pair), margin(fresh, *pair))
    forgotten = [*picks[:20], *picks[21:]]
    walked.fit(forgotten)
    without = head()
    without.fit(forgotten)
    assert torch.equal(margin(walked, *pair), margin(without, *pair))


def test_one_text_after_the_same_words_in_two_chats_is_two_replies():
    text = completion(5, 1).text
    in_one = replace(completion(5, 1), seed=0, text=text)
    in_other = replace(completion(5, 2), seed=0, text=text)  # what came before was another matter
    picks = brevity_picks(43)
    one = pick(in_one, completion(30, 50), Choice.FIRST)
    other = pick(in_other, completion(30, 51), Choice.FIRST)
    pair = completion(20, 900), completion(80, 901)
    both, alone = head(), head()
    both.fit([*picks, one, other])
    both.fit([*picks, other])
    alone.fit([*picks, other])
    assert torch.equal(margin(both, *pair), margin(alone, *pair))


def test_picks_after_a_ranking_seldom_renew_the_basis(monkeypatch):
    made = []

    def counted(differences, count):
        made.append(len(differences))
        return principal_components(differences, count)

    monkeypatch.setattr("learner.reward.head.principal_components", counted)
    rankings = [
        Ordered(
            prompt=user("Tell me"),
            completions=tuple(completion(20 + 5 * k, 9000 + 10 * i + k) for k in range(4)),
            ranks=(1, 2, 3, 4),
            at=hours(3 * i),
        )
        for i in range(4)
    ]
    picks = [replace(p, decided_at=hours(i)) for i, p in enumerate(brevity_picks(40))]
    reward = head(hidden_components=4)
    for n in range(30, 41):
        reward.fit(picks[:n], rankings)
    assert made == [42, 46, 50], "pairs: it is renewed as they grow by a tenth"


def taste_of_direction() -> Taste:
    drawn = torch.randn((2, 8), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    style = torch.zeros((2, len(STYLE_NAMES)), dtype=torch.float64)
    style[0, 0] = -1.0
    basis = torch.randn((H, 8), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return Taste(
        names=("style:short", "style:other"),
        style=style,
        hidden=drawn,
        basis=Components(basis=basis / 5),
    )


def test_a_shipped_basis_is_used_from_the_first_reply():
    reward = BayesianRewardHead(
        RewardConfig(hidden_components=8, shipped_basis=True), seed=0, taste=taste_of_direction()
    )
    same_words = replace(completion(30, 2), text=completion(30, 1).text)
    assert margin(reward, completion(30, 1), same_words).std() > 0.05


@pytest.mark.parametrize(("ties", "decided", "nu"), [(0, 0, 0.5), (0, 200, 2**-5), (60, 60, 2.0)])
def test_the_tie_strength_follows_the_share_of_ties(ties, decided, nu):
    assert tie_strength(ties, decided, 0.5) == pytest.approx(nu)


def test_the_tie_strength_comes_of_pairs_that_were_asked_about(monkeypatch):
    counted = []

    def noted(ties, decided, prior):
        counted.append((ties, decided))
        return tie_strength(ties, decided, prior)

    monkeypatch.setattr("learner.reward.head.tie_strength", noted)
    choices = [Choice.TIE, Choice.TIE, Choice.FIRST, Choice.SECOND, Choice.SECOND]
    choices += [Choice.SKIP, Choice.BOTH_BAD]
    picks = [replace(p, choice=c) for p, c in zip(brevity_picks(7), choices, strict=True)]
    given = [
        because(p, reason)
        for reason in (AskReason.IMPORTED, AskReason.EDITED, AskReason.WRITTEN)
        for p in brevity_picks(4, seed=300)
    ]
    head(hidden_components=0).fit([*picks, *given])
    assert counted == [(2, 3)]


def test_a_refit_at_a_thousand_picks_takes_milliseconds():
    reward = BayesianRewardHead(
        RewardConfig(hidden_components=8, shipped_basis=True), seed=0, taste=taste_of_direction()
    )
    picks = brevity_picks(1000)
    reward.fit(picks[:995])
    took = min(reward.fit(picks[:n])["reward_fit_ms"] for n in (996, 997, 998))
    assert took < 150, "50 is the promise, on a quiet machine and without checked shapes"


def test_with_a_half_life_the_newer_picks_decide():
    old, new = brevity_picks(20), brevity_picks(10, seed=800)
    turned = [
        replace(p, choice=Choice.SECOND if p.choice is Choice.FIRST else Choice.FIRST) for p in new
    ]
    pair = completion(70, 900), completion(10, 901)
    fading = head(hidden_components=0, half_life_picks=4.0, picks_between_changes=None)
    steady = head(hidden_components=0, picks_between_changes=None)
    fading.fit([*old, *turned])
    steady.fit([*old, *turned])
    assert margin(fading, *pair).mean() > 0.5
    assert margin(steady, *pair).mean() < 0.0


def test_what_was_written_without_being_asked_says_nothing_about_places():
    def position_weight(reason: AskReason) -> float:
        reward = head(hidden_components=0, position_prior_std=1.0)
        picks = [
            pick(completion(30, 2 * i), completion(30, 2 * i + 1), Choice.FIRST) for i in range(40)
        ]
        reward.fit([because(p, reason) for p in picks])
        return reward.position_weight

    assert position_weight(AskReason.UNCERTAIN) > 0.5
    assert abs(position_weight(AskReason.WRITTEN)) < 1e-9
