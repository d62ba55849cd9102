"""How long a draft will become, from replies that are known."""

import pytest

from learner.reward.lengths import LengthForecast
from storage.records import Completion, FinishReason, Sampling


def reply(tokens: int, finish: FinishReason, *, seed: int = 0, limit: int = 128) -> Completion:
    return Completion(
        text="",
        token_ids=(0,) * tokens,
        logprobs=(0.0,) * tokens,
        finish_reason=finish,
        policy_version=0,
        seed=seed,
        sampling=Sampling(max_new_tokens=limit),
    )


def draft(tokens: int = 64, *, limit: int = 128) -> Completion:
    return reply(tokens, FinishReason.ABORTED, limit=limit)


def known(*replies: tuple[int, FinishReason]) -> LengthForecast:
    forecast = LengthForecast()
    for seed, (tokens, finish) in enumerate(replies):
        forecast.observe(reply(tokens, finish, seed=seed))
    return forecast


def test_a_draft_becomes_as_long_as_replies_that_ran_past_it():
    forecast = known((30, FinishReason.STOP), *[(100, FinishReason.STOP)] * 8)
    length, ended = forecast.expected(draft())
    assert length == (8 * 100 + 2 * 128) / 10
    assert ended == (8 + 1) / 10


def test_what_was_cut_at_the_limit_did_not_come_to_an_end():
    length, ended = known(*[(128, FinishReason.LENGTH)] * 98).expected(draft())
    assert (length, ended) == (128.0, 0.01)


def test_after_the_limit_was_raised_a_cut_reply_is_at_least_so_long():
    forecast = known(*[(128, FinishReason.LENGTH)] * 98)
    length, ended = forecast.expected(draft(limit=512))
    assert length == pytest.approx(256, rel=0.02), "as little is known of it as of a draft of 128"
    assert ended == pytest.approx(0.5)
    for seed in range(200, 500):
        forecast.observe(reply(400, FinishReason.STOP, seed=seed, limit=512))
    length, ended = forecast.expected(draft(limit=512))
    assert length == pytest.approx(400, rel=0.02)
    assert ended > 0.98


def test_a_reply_that_a_choice_cut_is_at_least_so_long():
    """Long ones are cut more often: without them replies would look shorter than they are."""
    forecast = known(*[(80, FinishReason.STOP)] * 8, *[(100, FinishReason.ABORTED)] * 90)
    length, ended = forecast.expected(draft())
    assert length == pytest.approx((8 * 80 + 90 * 128 + 2 * 128) / 100)
    assert ended < 0.6
    assert forecast.expected(draft(100)) == known().expected(draft(100)), (
        "of itself it tells nothing"
    )


def test_after_the_limit_was_lowered_no_reply_counts_as_longer_than_it():
    forecast = known(*[(70, FinishReason.STOP)] * 49, *[(500, FinishReason.STOP)] * 49)
    length, ended = forecast.expected(draft())
    assert length == (49 * 70 + 49 * 128 + 2 * 128) / 100
    assert ended == (49 + 1) / 100


def test_the_oldest_reply_is_forgotten_with_how_it_ended():
    forecast = known((100, FinishReason.LENGTH), *[(100, FinishReason.STOP)] * 512)
    _, ended = forecast.expected(draft(limit=512))
    assert ended == (512 + 1) / 514
