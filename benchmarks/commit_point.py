"""What it costs to decide early which reply to show, and what it gains.

    python -m benchmarks.commit_point --data DIR/data --rater RATER.py --out FILE.json

``DIR`` is a finished ``twofold simulate`` run. Its stored candidates are cut to the first c tokens
and scored as drafts by a reward ensemble fitted on all picks of the run; the leader's *final* reply
is then judged by the rater's own score. c = all is best-of-N by the same ensemble; c = 0 a random
reply. The ensemble has learned from picks among these very candidates and knows how long they
became, so all c are a little flattered alike. Time to the first token is measured on the same
prompts with the real engine.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

from chat_app.simulate.rater import chat_messages, load_rater
from learner.asking import AskingReplyMaker
from learner.build import build_replies
from learner.config import AskConfig, EngineConfig, RewardConfig
from learner.model_source import resolve_model
from learner.query_rules import pessimistic_best
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.records import CandidatePool, Completion, FinishReason

COMMITS = (8, 32, 64)


def cut(completion: Completion, tokens: int, decode) -> Completion:  # noqa: ANN001
    """The completion as it stood after so many tokens; a finished one stays as it is."""
    if len(completion.token_ids) <= tokens:
        return completion
    ids = completion.token_ids[:tokens]
    return replace(
        completion,
        token_ids=ids,
        logprobs=completion.logprobs[:tokens],
        text=decode(ids, skip_special_tokens=True),
        finish_reason=FinishReason.ABORTED,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rater", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    feedback = FeedbackReader(Reader(options.data / "twofold.db"))
    pools = feedback.pools(limit=1000)
    replies = build_replies(
        resolve_model(), engine=EngineConfig(), ask=AskConfig(), reward=RewardConfig()
    )
    preferences = feedback.preferences()
    replies.resume([], pools[::-1])  # no decision is taken here, so the threshold is of no account
    replies.refit(preferences)
    rater = load_rater(options.rater)
    if rater.utility is None:
        parser.error(f"{options.rater} defines no score()")
    score = rater.utility
    rows = [measure(replies, pools, score, commit) for commit in (*COMMITS, 10_000)]
    mean_of_all = statistics.fmean(
        score(chat_messages(p.prompt), c.completion.text) for p in pools for c in p.candidates
    )
    best = statistics.fmean(
        max(score(chat_messages(p.prompt), c.completion.text) for c in p.candidates) for p in pools
    )
    result = {
        "pools": len(pools),
        "utility_random": mean_of_all,
        "utility_best_by_rater": best,
        "rows": rows,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(
    replies: AskingReplyMaker,
    pools: list[CandidatePool],
    score,  # noqa: ANN001
    commit: int,
) -> dict[str, float]:
    decode = replies.engine.backbone.tokenizer.decode
    utilities = []
    for pool in pools:
        drafts = [cut(c.completion, commit, decode) for c in pool.candidates]
        rewards = replies.score(pool.prompt, drafts)
        leader = pessimistic_best(rewards, replies.reward.config.pessimism)
        utilities.append(score(chat_messages(pool.prompt), pool.candidates[leader].completion.text))
    times = [first_token_s(replies, pool, commit) for pool in pools[:4]]
    return {
        "commit_after_tokens": commit,
        "utility_shown": statistics.fmean(utilities),
        "first_token_s": statistics.median(times),
    }


def first_token_s(replies: AskingReplyMaker, pool: CandidatePool, commit: int) -> float:
    """Prefill, drafting up to ``commit`` tokens, and scoring: then the leader is visible."""
    sampling = pool.candidates[0].completion.sampling
    began = time.perf_counter()
    batch = replies.engine.start(pool.prompt, len(pool.candidates), sampling, seed=1)
    for _ in range(commit):
        if not batch.running:
            break
        batch.step()
    replies.score(pool.prompt, batch.completions())
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
