"""Rankings, dialogues and thumbs leave as others read them, and come back as they were."""

import json
from pathlib import Path

import pytest

from chat_app.data_service import DataService
from chat_app.exports import ExportFormat, ExportOptions, json_lines
from chat_app.file_records import FileProblem
from chat_app.import_file import read_records
from chat_app.settings import Settings
from chat_app.tabs import build_tabs
from chat_app.wording_data import import_line
from learner.control import LearnerControl
from storage.demonstrations import DemonstrationLog
from storage.dialogues import DialogueLog
from storage.labels import LabelLog
from storage.logs import Logs
from storage.opinions import OpinionLog
from storage.pick_list import PickFilter
from storage.rankings import RankingLog
from storage.records import Label, Note, Purpose, Strength, Thumb
from storage.slates import Criterion, Orders
from tests.chat_app.makers import scripted
from tests.storage.builders import World, completion

ALL = PickFilter()
WHOLE = (ExportFormat.RANKINGS, ExportFormat.DIALOGUES)


@pytest.fixture
def data_of(serve):
    """The Data tab's service over a world, and the chat beside it."""

    def build(world: World) -> tuple[DataService, object]:
        replies = scripted()
        service = serve(replies)
        data = build_tabs(
            folder=world.folder,
            settings=Settings(data=world.folder.root),
            control=LearnerControl(world.folder.root),
            store=world.store,
            logs=Logs.over(world.store, world.folder.rounds),
            replies=replies,
            service=service,
        ).data
        return data, service

    return build


def rank(world: World, orders: Orders, **kinds) -> None:
    turn = world.prompt(**kinds)
    texts = [completion(f"answer {number} ünd so") for number in range(len(orders.overall))]
    stored = world.log.add_candidates(turn.id, texts)
    log = RankingLog(world.store)
    log.rank(log.ask(turn.id, [one.id for one in stored]).token, orders, decision_ms=77)


def teach(world: World, *, held_out: bool = False) -> None:
    chat = world.start(held_out=held_out, purpose=Purpose.TEACHING)
    turn = world.log.say(chat.id, "what is that?\nsay")
    DemonstrationLog(world.store).reply(turn.id, "that is <b>that</b>")
    DialogueLog(world.store).finish(chat.id)


def lived(world: World) -> None:
    rank(world, Orders(overall=(2, 1, 2), criteria={Criterion.HONESTY: (1, 1, 1)}))
    rank(world, Orders(overall=(1, 2), criteria={}), held_out=True)
    teach(world)
    teach(world, held_out=True)


def rows(data: DataService, format_: ExportFormat, **options: bool) -> list[dict]:
    return list(data.export(ALL, ExportOptions(format=format_, **options)))


def test_a_ranking_is_exported_whole_and_as_pairs(data_of, world: World) -> None:
    data, _ = data_of(world)
    lived(world)
    first, second = rows(data, ExportFormat.RANKINGS)
    assert first["prompt"] == [{"role": "user", "content": "hello"}]
    assert first["answers"] == [f"answer {number} ünd so" for number in range(3)]
    assert first["ranks"] == {"overall": [2, 1, 2], "honesty": [1, 1, 1]}
    assert first["meta_decision_ms"] == 77 and not first["meta_held_out"]
    assert second["meta_held_out"]
    assert len(rows(data, ExportFormat.RANKINGS, held_out=False)) == 1
    pairs = rows(data, ExportFormat.RANKED_PAIRS, held_out=False)
    said = [(row["chosen"][0]["content"][7], row["rejected"][0]["content"][7]) for row in pairs]
    assert said == [("1", "0"), ("1", "2")]  # the tie is no pair, and honesty is all tied
    assert {row["meta_criterion"] for row in pairs} == {"overall"}
    assert pairs[0]["meta_weight"] == pytest.approx(1 / 3)
    every = rows(data, ExportFormat.RANKED_PAIRS)
    assert [row["meta_held_out"] for row in every] == [False, False, True]
    assert set(rows(data, ExportFormat.RANKED_PAIRS, meta=False)[0]) == {
        "prompt",
        "chosen",
        "rejected",
    }


def test_of_a_ranking_as_pairs_only_the_overall_ones_are_taken_for_choices(
    data_of, world: World
) -> None:
    data, _ = data_of(world)
    rank(world, Orders(overall=(1, 2), criteria={Criterion.HONESTY: (2, 1)}), held_out=True)
    overall, honesty = read_records(json_lines(rows(data, ExportFormat.RANKED_PAIRS)))
    assert overall.held_out is True
    assert isinstance(honesty, FileProblem) and "import the format rankings" in honesty.sentence


def test_thumbs_reasons_and_comments_leave_too(data_of, world: World) -> None:
    data, _ = data_of(world)
    opinions = OpinionLog(world.store)
    for thumb, held_out in ((Thumb.UP, False), (Thumb.DOWN, True), (Thumb.NONE, False)):
        reply = world.log.reply(world.prompt(held_out=held_out).id, completion("so"))
        opinions.rate(reply.id, Thumb.UP)
        opinions.rate(reply.id, thumb)
    liked, disliked = rows(data, ExportFormat.THUMBS)
    assert (liked["label"], disliked["label"]) == (True, False)
    assert liked["completion"] == [{"role": "assistant", "content": "so"}]
    assert disliked["meta_held_out"] and len(rows(data, ExportFormat.THUMBS, held_out=False)) == 1

    note = Note(strength=Strength.CLEARLY, reasons=("clear", "tone"), comment="warm ♥")
    opinions.annotate(world.pick(), note)
    world.pick()
    for format_ in (ExportFormat.PREFERENCE, ExportFormat.EVERYTHING, ExportFormat.MESSAGES):
        noted, plain = rows(data, format_)
        assert noted["meta_strength"] == "clearly" and noted["meta_comment"] == "warm ♥"
        assert noted["meta_reasons"] == ["clear", "tone"]
        assert (plain["meta_strength"], plain["meta_reasons"]) == (None, [])


def test_labels_leave_with_their_reply_and_come_back_with_its_choice(
    data_of, world: World, tmp_path: Path
) -> None:
    data, _ = data_of(world)
    pair = world.ask()
    world.answer(pair)
    labels = LabelLog(world.store)
    shown = world.log.path(pair.conversation_id)[-1]
    labels.label(shown.id, [Label.WRONG_FACTS, Label.PRIVATE_DATA])
    world.pick()
    [row] = rows(data, ExportFormat.LABELS)
    assert row["labels"] == ["private_data", "wrong_facts"]
    assert row["completion"][0]["content"] == pair.first.completion.text
    assert (row["meta_label_source"], row["meta_held_out"]) == ("person", False)
    marked, plain = rows(data, ExportFormat.PREFERENCE)
    assert marked["meta_first_labels"] == row["labels"] and marked["meta_second_labels"] == []
    assert plain["meta_first_labels"] == []

    file = tmp_path / "picks.jsonl"
    file.write_text("".join(json_lines(rows(data, ExportFormat.PREFERENCE))))
    other = World.open(tmp_path / "elsewhere")
    with other.store:
        there, service = data_of(other)
        there.importing.start(there.importing.preview(file, file.name).key)
        service.drain()
        again = "".join(json_lines(rows(there, ExportFormat.PREFERENCE)))
        assert again == file.read_text()
        [taken] = rows(there, ExportFormat.LABELS)
        assert taken["labels"] == row["labels"] and taken["meta_label_source"] == "imported"
        chat = other.feedback.preferences()[0].comparison.conversation_id
        LabelLog(other.store).label(other.log.path(chat)[-1].id, [])
        assert rows(there, ExportFormat.LABELS) == []
        assert rows(there, ExportFormat.PREFERENCE)[0]["meta_first_labels"] == []
        service.close()


def test_trl_takes_dialogues_and_pairs_as_they_are(data_of, world: World) -> None:
    trl = pytest.importorskip("trl.data_utils")
    data, _ = data_of(world)
    lived(world)
    [dialogue, _] = rows(data, ExportFormat.DIALOGUES, meta=False)
    assert set(dialogue) == {"messages"} and trl.is_conversational(dialogue)
    pair = rows(data, ExportFormat.RANKED_PAIRS, meta=False)[0]
    assert trl.is_conversational(pair) and trl.maybe_extract_prompt(dict(pair)) == pair


def test_rankings_and_dialogues_come_back_unchanged_here_and_elsewhere(
    data_of, world: World, tmp_path: Path
) -> None:
    data, _ = data_of(world)
    lived(world)
    file = tmp_path / "both.jsonl"
    file.write_text("".join(line for one in WHOLE for line in json_lines(rows(data, one))))
    here = data.importing.preview(file, file.name)
    assert (here.new, here.known, here.bad_lines) == ((), 4, 0)

    other = World.open(tmp_path / "elsewhere")
    with other.store:
        there, service = data_of(other)
        preview = there.importing.preview(file, file.name)
        assert "2 new rankings, 2 new dialogues" in import_line(preview)
        there.importing.start(preview.key)
        service.drain()
        assert there.importing.progress().added == 4
        again = "".join(line for one in WHOLE for line in json_lines(rows(there, one)))
        assert again == file.read_text()
        assert there.importing.preview(file, file.name).known == 4
        rankings, dialogues = RankingLog(other.store), DialogueLog(other.store)
        assert [one.orders for one in rankings.rankings()] == [
            one.orders for one in RankingLog(world.store).rankings()
        ]
        assert all(one.completion.token_ids for one in rankings.rankings()[0].slate.answers)
        assert len(rankings.held_out()) == len(dialogues.held_out()) == 1
        assert dialogues.demonstrations()[0].messages == (
            DialogueLog(world.store).demonstrations()[0].messages
        )
        other.feedback.verify_chain()
        service.close()


def test_what_a_foreign_file_said_leaves_with_its_id_and_what_only_measures_says_so(
    data_of, world: World, tmp_path: Path
) -> None:
    data, service = data_of(world)
    said = {"meta_source": "elsewhere"}
    file = tmp_path / "foreign.jsonl"
    file.write_text("".join(json_lines(one | said for one in (RANKING, DIALOGUE))))
    data.importing.start(data.importing.preview(file, file.name).key)
    service.drain()
    for format_, log in zip(
        WHOLE, (RankingLog(world.store), DialogueLog(world.store)), strict=True
    ):
        [row] = rows(data, format_)
        assert row["meta_source"] == "elsewhere" and len(row["meta_id"]) == 43
        assert row["meta_held_out"] is bool(log.held_out())


RANKING = {"prompt": "why?", "answers": ["a", "b"], "ranks": {"overall": [1, 2]}}
PAIR = {"prompt": "why?", "chosen": "a", "rejected": "b"}
DIALOGUE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (RANKING | {"answers": "a"}, "not a list of texts"),
        (RANKING | {"answers": ["a", "a"]}, "are the same"),
        (RANKING | {"answers": ["a", " "]}, "is empty"),
        (RANKING | {"ranks": {}}, "'overall'"),
        (RANKING | {"ranks": {"overall": [1, 3]}}, "leave none out"),
        (RANKING | {"ranks": {"overall": [1, 2, 3]}}, "ranks 3 answers, and there are 2"),
        (RANKING | {"ranks": {"overall": [1, True]}}, "whole numbers"),
        (RANKING | {"ranks": {"overall": [1, 2], "beauty": [1, 2]}}, "is no criterion"),
        (RANKING | {"answers": ["a"], "ranks": {"overall": [1]}}, "2 to 9"),
        ({"messages": []}, "do not end with a reply"),
        ({"messages": DIALOGUE["messages"][:1]}, "do not end with a reply"),
        ({"messages": DIALOGUE["messages"][1:]}, "does not end with a message of the user"),
        (DIALOGUE | {"meta_id": "short"}, "meta_id"),
        (DIALOGUE | {"meta_excluded": True}, "not to be learned from"),
        (RANKING | {"meta_excluded": True}, "not to be learned from"),
        (PAIR | {"meta_first_labels": ["ugly"]}, "known are unsafe, private_data"),
        (PAIR | {"meta_second_labels": "unsafe"}, "not a list of labels"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(row, said) -> None:
    [problem] = read_records([json.dumps(row)])
    assert isinstance(problem, FileProblem) and said in problem.sentence


def test_lines_of_every_kind_may_stand_in_one_file() -> None:
    found = list(read_records(json.dumps(row) for row in (RANKING, DIALOGUE, PAIR)))
    assert len({type(one) for one in found}) == 3
    assert len({one.sha256 for one in found}) == 3
