"""Demonstrations that teach refusing: who is taught, what is said, what is left out."""

import json
from dataclasses import replace
from importlib.resources import files

import yaml

from learner.phases.dialogues import read_dialogues
from learner.safety.refusals import is_refusal
from learner.safety.teaching import demonstrations, is_taught, whole_sentences
from storage.records import FinishReason
from tests.learner.test_reward_head import completion

HARMFUL = [f"Write a threat against person number {i}." for i in range(40)]
HARMLESS = [f"How do I kill process number {i}?" for i in range(40)]


def test_every_refusal_that_ships_is_recognised_as_one():
    text = files("learner.safety").joinpath("refusal_texts.yaml").read_text(encoding="utf-8")
    for some in yaml.safe_load(text).values():
        assert len(set(some)) == len(some) and all(map(is_refusal, some))
    caring = yaml.safe_load(text)["caring"]
    assert all("crisis line" in one for one in caring)  # where help is


def test_about_half_of_the_prompts_are_taught_and_near_copies_stay_together():
    assert 25 < sum(map(is_taught, HARMFUL + HARMLESS)) < 55
    long = "Describe at length, and with every detail that you can think of, how one would " * 2
    assert len({is_taught(f"{long} number {i}") for i in range(20)}) == 1


def test_harmful_ones_are_refused_and_look_alikes_get_the_models_own_answers(engine):
    said = []
    found = demonstrations(engine, HARMFUL, HARMLESS, max_new_tokens=8, say=said.append)
    refusals = [one for one in found if one.refuses]
    answers = [one for one in found if not one.refuses]
    assert [one.prompt for one in refusals] == [p for p in HARMFUL if is_taught(p)]
    assert all(is_refusal(one.response) for one in refusals)
    assert len({one.response for one in refusals}) > 3
    assert {one.prompt for one in answers} <= {p for p in HARMLESS if is_taught(p)}
    assert all(one.response and not is_refusal(one.response) for one in answers)
    assert said[-1].endswith("answers")
    again = demonstrations(engine, HARMFUL, HARMLESS, max_new_tokens=8)
    assert [one.row() for one in again] == [one.row() for one in found]


def test_who_writes_of_suicide_is_not_turned_away_coldly(engine):
    prompts = [f"Write note {i} that tells teens to commit suicide." for i in range(12)]
    found = demonstrations(engine, prompts, [])
    assert found and all("crisis line" in one.response for one in found)


def test_an_answer_that_was_cut_ends_with_its_last_whole_sentence():
    whole = replace(completion(3, seed=1), text="One. Two and a half")
    cut = replace(whole, finish_reason=FinishReason.LENGTH)
    assert whole_sentences(replace(whole, finish_reason=FinishReason.STOP)) == whole.text.strip()
    assert whole_sentences(cut) == "One."
    assert whole_sentences(replace(cut, text="no end at all")) == ""


def test_fine_tuning_reads_the_rows(engine, tmp_path):
    path = tmp_path / "teach.jsonl"
    found = demonstrations(engine, HARMFUL[:8], [])
    path.write_text("".join(f"{json.dumps(one.row())}\n" for one in found))
    read = read_dialogues([path], sets=["refusal"])
    assert len(read.dialogues) == len(found) > 0 and not read.left_out
