"""Rows of packed sequences, masks of dialogues, the loss; against TRL, padding and closed forms."""

import json

import pytest
import torch

from learner.phases.cleaning import cleaned
from learner.phases.dialogues import Dialogue, LeftOut, read_dialogues, sequences_of, split, told
from learner.phases.packing import TokenSequence, learned_logprobs, pack
from learner.phases.protocol import PhaseError
from learner.rendering import prompt_ids
from storage.records import Message, Role
from tests.learner.conftest import user


def sequence(ids, learned_from):
    marks = tuple(i >= learned_from for i in range(len(ids)))
    return TokenSequence(ids=tuple(ids), supervised=marks)


SOME = [sequence(range(10, 30), 5), sequence(range(40, 47), 1), sequence(range(60, 72), 11)]


def plain_logprobs(backbone, one):
    """The usual way: one text, all logits, shifted by one."""
    logits = backbone.base(torch.tensor([one.ids])).logits[0].float()
    logp = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(one.ids[1:])[:, None]).squeeze(1)
    return logp[[place - 1 for place in one.places]]


def test_a_packed_row_gives_what_each_text_gives_alone(backbone):
    assert backbone.runs_trees
    with torch.no_grad():
        packed = learned_logprobs(backbone, SOME)
        alone = torch.cat([plain_logprobs(backbone, one) for one in SOME])
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)


def test_a_padded_row_gives_the_same(backbone, monkeypatch):
    with torch.no_grad():
        packed = learned_logprobs(backbone, SOME)
        monkeypatch.setattr(type(backbone), "runs_trees", False)
        padded = learned_logprobs(backbone, SOME)
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-4)


def test_gradients_of_all_weights_reach_embeddings_and_head(backbone):
    named = backbone.open_full_training()
    (-learned_logprobs(backbone, SOME).mean()).backward()
    ours = {name: p.grad.clone() for name, p in named.items()}
    backbone.base.zero_grad()
    torch.cat([-plain_logprobs(backbone, one) for one in SOME]).mean().backward()
    assert len(ours) == len(named) > 10
    for name, parameter in named.items():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-5)
    assert ours["model.embed_tokens.weight"].abs().sum() > 0


def test_the_loss_is_that_of_trls_sft_trainer(backbone):
    """TRL masks with -100 and averages over the supervised tokens of the whole batch."""
    pytest.importorskip("trl")
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    collator = DataCollatorForLanguageModeling(pad_token_id=backbone.pad_id)
    rows = [
        {
            "input_ids": list(one.ids),
            "labels": [
                t if mark else -100 for t, mark in zip(one.ids, one.supervised, strict=True)
            ],
        }
        for one in SOME
    ]
    batch = collator(rows)
    labels = batch["labels"]
    with torch.no_grad():
        logits = backbone.base(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        theirs = backbone.base.loss_function(
            logits, labels, vocab_size=backbone.base.config.vocab_size
        )
        ours = -learned_logprobs(backbone, SOME).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_rows_are_filled_and_hold_each_sequence_once():
    rows = pack([sequence(range(n), 1) for n in (5, 30, 9, 4, 3)], 12)
    assert [[len(one.ids) for one in row] for row in rows] == [[30], [9, 3], [5, 4]]


def test_a_sequence_that_teaches_nothing_is_refused():
    with pytest.raises(ValueError, match="teaches nothing"):
        TokenSequence(ids=(1, 2, 3), supervised=(True, False, False))


# --- dialogues ------------------------------------------------------------------------------------


def dialogue(*texts, learned):
    return Dialogue(messages=user(*texts), learned=learned, family="f")


def test_exactly_the_replies_and_their_ends_are_learned(backbone):
    one = dialogue("Hi", "Hello!", "And?", "So.", learned=(1, 3))
    [made] = sequences_of(backbone, one, 512)
    learned = [t for t, mark in zip(made.ids, made.supervised, strict=True) if mark]
    assert backbone.tokenizer.decode(learned) == "Hello!<|im_end|>So.<|im_end|>"
    rendered = backbone.tokenizer.apply_chat_template(
        [{"role": m.role.value, "content": m.content} for m in one.messages], tokenize=False
    )
    assert backbone.tokenizer.decode(made.ids) == rendered.rstrip("\n")
    assert made.ids[: made.supervised.index(True)] == prompt_ids(backbone.tokenizer, user("Hi"))


def test_only_marked_replies_are_learned(backbone):
    one = dialogue("Hi", "Hello!", "And?", "So.", learned=(3,))
    [made] = sequences_of(backbone, one, 512)
    learned = [t for t, mark in zip(made.ids, made.supervised, strict=True) if mark]
    assert backbone.tokenizer.decode(learned) == "So.<|im_end|>"


def test_a_template_that_rewrites_earlier_turns_gets_a_sequence_for_each_reply(backbone):
    """As those do that drop the thoughts of earlier turns."""
    before = backbone.tokenizer.chat_template
    backbone.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and not loop.last %}...{% else %}{{ m['content'] }}"
        "{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    try:
        one = dialogue("Hi", "Hello!", "And?", "So.", learned=(1, 3))
        made = sequences_of(backbone, one, 512)
    finally:
        backbone.tokenizer.chat_template = before
    assert [s.learned for s in made] == [len("Hello!") + 1, len("So.") + 1]


def test_what_is_too_long_is_left_out(backbone):
    one = dialogue("Hi", "x" * 600, learned=(1,))
    assert sequences_of(backbone, one, 512) == []


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("One.\nTwo!\nThree?", "One. Two! Three?"),
        ("Do this: 1.\nStir.\n2.\nBake.", "Do this:\n1. Stir.\n2. Bake."),
        ("  A short one without an end ", "A short one without an end"),
        ("x" * 360, None),
        ("x" * 360 + ".", "x" * 360 + "."),
        ("x" * 360 + ",", None),
        ("x" * 360 + "\n- One\n- Two\n- Three is a long item" + ", which goes on" * 6, None),
        ("One.\n" + "x" * 360, None),
        (" \n", None),
    ],
)
def test_dolly_rows_are_mended_or_left_out(text, mended):
    assert cleaned(text) == mended


@pytest.mark.parametrize(
    "end", ["。", "”", "“", "}", "😀", "❤\ufe0f", "»", "।", "\n- a\n- b", "\na\nb"]
)
def test_a_long_reply_may_end_as_its_language_and_its_form_end(end):
    assert cleaned("x" * 360 + end) == "x" * 360 + end


@pytest.mark.parametrize("line", ["", "- a.", "* a", "# A", "> a", "  a", "2 a", "a) a", "| a |"])
def test_a_break_that_was_meant_stays(line):
    text = f"First.\n{line}\n\nLast."
    assert cleaned(text) == text


def test_what_a_person_wrote_is_taken_as_it_is_unless_it_is_to_be_cleaned(tmp_path):
    texts = ["One.\nTwo.", "x" * 360]
    rows = [json.dumps({"prompt": f"Say {i}", "response": text}) for i, text in enumerate(texts)]
    path = write(tmp_path / "rows.jsonl", *rows)
    read = read_dialogues([path])
    assert [one.messages[-1].content for one in read.dialogues] == texts
    assert told(read.left_out, limit="x") == []
    read = read_dialogues([path], clean=True)
    assert [one.messages[-1].content for one in read.dialogues] == ["One. Two."]
    read.left_out[LeftOut.TOO_LONG] += 2
    assert told(read.left_out, limit="max_tokens (9)") == [
        "demonstrations left out: 3, of which 1 with a reply that ends in mid-sentence (clean), "
        "2 longer than max_tokens (9)"
    ]


def test_what_the_assistant_opens_with_is_not_learned(tmp_path, backbone):
    said = [("system", "Be kind."), ("assistant", "Hi!"), ("user", "Who?"), ("assistant", "Me.")]
    for opening in (said, said[1:]):
        row = {"messages": [{"role": role, "content": text} for role, text in opening]}
        [one] = read_dialogues([write(tmp_path / "rows.jsonl", json.dumps(row))]).dialogues
        [made] = sequences_of(backbone, one, 512)
        learned = [t for t, mark in zip(made.ids, made.supervised, strict=True) if mark]
        assert backbone.tokenizer.decode(learned) == "Me.<|im_end|>"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_kinds_of_rows_are_read_and_repeats_left_out(tmp_path):
    path = write(
        tmp_path / "rows.jsonl",
        '{"prompt": "A?", "response": "B."}',
        '{"prompt": "A?", "response": "B."}',
        '{"prompt": "C?", "response": " ", "set": "x"}',
        '{"history": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}],'
        ' "prompt": "3", "response": "4", "tree": "t9"}',
        '{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},'
        ' {"role": "user", "content": "v"}, {"role": "assistant", "content": "b"}]}',
    )
    read = read_dialogues([path])
    assert read.left_out == {LeftOut.REPEATED: 1, LeftOut.EMPTY: 1}
    assert [d.learned for d in read.dialogues] == [(1,), (3,), (1, 3)]
    assert [d.family for d in read.dialogues] == ["a", "t9", "u"]
    assert read_dialogues([path], sets=["x"]).dialogues == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: this is no JSON"),
        ("[]", "line 1: expected an object"),
        ('{"prompt": "A?"}', "line 1: expected"),
        ('{"prompt": 3, "response": "x"}', "line 1: expected"),
        ('{"messages": []}', "line 1: expected"),
        ('{"messages": [{"role": "king", "content": "x"}]}', "line 1: expected"),
        (
            '{"messages": [{"role": "assistant", "content": "a"},'
            ' {"role": "user", "content": "x"}]}',
            "a dialogue ends with a reply",
        ),
    ],
)
def test_a_row_that_is_no_dialogue_is_named(tmp_path, line, said):
    with pytest.raises(PhaseError, match=said):
        read_dialogues([write(tmp_path / "rows.jsonl", line)])
    with pytest.raises(PhaseError, match="cannot be read"):
        read_dialogues([tmp_path / "none.jsonl"])


def test_families_stay_together_and_held_out_chats_measure():
    some = [
        Dialogue(
            messages=(
                Message(role=Role.USER, content=f"Question {i % 40}"),
                Message(role=Role.ASSISTANT, content=str(i)),
            ),
            learned=(1,),
            family=f"family {i % 40}",
            held_out=i == 7,
        )
        for i in range(200)
    ]
    training, held_out = split(some, held_out_share=0.2)
    sides = {d.family: d in held_out for d in some if not d.held_out}
    assert all(sides[d.family] == (d in held_out) for d in some if not d.held_out)
    assert some[7] in held_out and 10 < len(held_out) < 80
    assert split(some, held_out_share=0.2) == (training, held_out)
