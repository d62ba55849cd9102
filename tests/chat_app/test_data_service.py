"""What a person does with their picks: the log, the judges and the files follow."""

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

from chat_app.data_service import DataService
from chat_app.dataset_zip import file_bytes
from chat_app.errors import ChatError
from chat_app.exports import ExportFormat, ExportOptions, json_lines, parquet_bytes
from chat_app.pick_query import PickQuery
from chat_app.settings import Settings
from chat_app.tabs import build_tabs
from chat_app.wording_data import is_learned_from
from learner.control import LearnerControl
from storage.logs import Logs
from storage.pick_list import PickFilter
from storage.records import Choice, FinishReason
from tests.chat_app.makers import GatedReplyMaker, scripted
from tests.storage.builders import QUESTION, World, completion
from tests.tiny import write_tiny_model

ALL = PickFilter()
DATASET = ExportOptions(format=ExportFormat.DATASET)


@pytest.fixture
def data_of(serve):
    """The Data tab's service over a world, with a chat beside it."""

    def build(world: World, replies=None) -> DataService:
        replies = replies or scripted()
        service = serve(replies)
        build.service = service
        return build_tabs(
            folder=world.folder,
            settings=Settings(data=world.folder.root),
            control=LearnerControl(world.folder.root),
            store=world.store,
            logs=Logs.over(world.store, world.folder.rounds),
            replies=replies,
            service=service,
        ).data

    return build


@pytest.fixture
def data(data_of, world: World) -> DataService:
    return data_of(world)


def rows(data: DataService, format_: ExportFormat, **options: bool) -> list[dict]:
    return list(data.export(ALL, ExportOptions(format=format_, **options)))


def test_what_teaches_nothing_is_not_said_to_teach_again(data: DataService, world: World) -> None:
    pair, kept_apart = world.ask(), world.ask(world.prompt(held_out=True))
    unlearned = world.ask(world.prompt(learn=False))
    for one in (pair, kept_apart, unlearned):
        world.answer(one)
    assert is_learned_from(data.correct(pair.id, Choice.TIE))
    assert not is_learned_from(data.exclude(pair.id))
    assert is_learned_from(data.include(pair.id))
    assert not is_learned_from(data.correct(pair.id, Choice.WITHDRAWN))
    assert not is_learned_from(data.correct(kept_apart.id, Choice.TIE))
    data.exclude(unlearned.id)
    assert not is_learned_from(data.include(unlearned.id))


def test_every_change_reaches_the_judges(data_of, world: World) -> None:
    replies = GatedReplyMaker()
    data = data_of(world, replies)
    pair = world.ask()
    world.answer(pair)
    for change, known in (
        (lambda: data.correct(pair.id, Choice.TIE), ["tie"]),
        (lambda: data.exclude(pair.id), []),
        (lambda: data.include(pair.id), ["tie"]),
        (lambda: data.correct(pair.id, Choice.WITHDRAWN), []),
        (lambda: data.correct(pair.id, Choice.SECOND), ["second"]),
        (lambda: data.forget(pair.id), []),
    ):
        change()
        data_of.service.drain()
        assert replies.refits[-1] == known
    with pytest.raises(ChatError, match="not here"):
        data.correct(world.ask().id, Choice.FIRST)


def test_a_choice_has_a_row_in_each_format_that_has_room_for_it(data, world: World) -> None:
    for choice in (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD, Choice.SKIP):
        world.answer(choice=choice)
    preference = rows(data, ExportFormat.PREFERENCE, meta=False)
    prompt = [{"role": "user", "content": "hello"}]
    one, two = ([{"role": "assistant", "content": text}] for text in ("one", "two"))
    assert preference == [
        {"prompt": prompt, "chosen": one, "rejected": two},
        {"prompt": prompt, "chosen": two, "rejected": one},
    ]
    unpaired = rows(data, ExportFormat.UNPAIRED, meta=False)
    assert [(row["completion"], row["label"]) for row in unpaired] == [
        (one, True),
        (two, False),
        (one, False),
        (two, True),
        (one, False),
        (two, False),
    ]
    assert rows(data, ExportFormat.MESSAGES, meta=False) == [
        {"messages": prompt + one},
        {"messages": prompt + two},
    ]
    assert [row["choice"] for row in rows(data, ExportFormat.EVERYTHING)] == [
        "first",
        "second",
        "tie",
        "both_bad",
        "skip",
    ]


def test_options_leave_rows_and_columns_out(data, world: World) -> None:
    world.answer(world.ask(world.prompt(held_out=True)))
    world.answer()
    assert len(rows(data, ExportFormat.PREFERENCE)) == 2
    [row] = rows(data, ExportFormat.PREFERENCE, held_out=False)
    assert row["meta_held_out"] is False and row["meta_choice"] == "first"
    assert not [name for name in rows(data, ExportFormat.PREFERENCE, meta=False)[0] if "_" in name]
    preview = data.preview_export(ALL, ExportOptions(held_out=False))
    assert (preview.picks, preview.rows, len(preview.sample)) == (2, 1, 1)


def test_a_preview_counts_what_the_download_will_hold(data, world: World) -> None:
    for choice in (Choice.FIRST, Choice.TIE, Choice.BOTH_BAD, Choice.SKIP):
        world.answer(choice=choice)
    world.answer(world.ask(world.prompt(held_out=True)))
    turn = world.prompt()
    cut = completion("cut", finish=FinishReason.ABORTED)
    world.answer(world.log.ask(turn.id, cut, completion("whole"), QUESTION))
    for format_ in ExportFormat:
        for held_out in (True, False):
            for partial in (True, False):
                for only in (ALL, PickFilter(choices=frozenset({Choice.TIE}))):
                    options = ExportOptions(format=format_, held_out=held_out, partial=partial)
                    counted = data.preview_export(only, options).rows
                    assert counted == len(list(data.export(only, options)))


def test_trl_takes_the_export_as_it_is(data, world: World, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.data_utils")
    world.answer()
    [row] = rows(data, ExportFormat.PREFERENCE, meta=False)
    assert trl.is_conversational(row)
    assert trl.maybe_extract_prompt(dict(row)) == row
    implicit = {name: row["prompt"] + row[name] for name in ("chosen", "rejected")}
    assert trl.maybe_extract_prompt(implicit) == row
    assert trl.is_conversational(rows(data, ExportFormat.UNPAIRED, meta=False)[0])


# TRL's own, about what it will do in its next version.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_trls_trainer_learns_from_the_export(data, world: World, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    for choice in (Choice.FIRST, Choice.SECOND, Choice.FIRST):
        world.answer(choice=choice)
    options = ExportOptions(format=ExportFormat.PREFERENCE)
    file = tmp_path / options.file_name
    file.write_text("".join(json_lines(data.export(ALL, options))), encoding="utf-8")
    model = write_tiny_model(tmp_path / "tiny").path
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=DPOConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=3,
            per_device_train_batch_size=3,
            learning_rate=1e-2,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in file.open()]),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # ln 2: nothing learned yet
    assert losses[-1] < losses[0]


def test_the_preference_file_is_what_trl_documents(data, world: World, tmp_path: Path) -> None:
    """Read as JSON alone: TRL's "conversational preference with an explicit prompt", for DPO."""
    turn = world.prompt(text="first question")
    world.log.reply(turn.id, completion("first reply"))
    world.answer(world.ask(world.log.say(turn.conversation_id, "and then?")))
    world.answer(choice=Choice.SECOND)
    world.answer(choice=Choice.TIE)  # no preference, so no row
    options = ExportOptions(format=ExportFormat.PREFERENCE)
    file = tmp_path / options.file_name
    file.write_text("".join(json_lines(data.export(ALL, options))), encoding="utf-8")
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(found) == 2
    for row in found:
        assert {name for name in row if not name.startswith("meta_")} == {
            "prompt",
            "chosen",
            "rejected",
        }
        for name in ("prompt", "chosen", "rejected"):
            assert row[name], name
            for message in row[name]:
                assert set(message) == {"role", "content"}
                assert isinstance(message["content"], str) and message["content"]
        roles = [message["role"] for message in row["prompt"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)] and roles[-1] == "user"
        assert [one["role"] for one in row["chosen"] + row["rejected"]] == ["assistant"] * 2
        assert row["chosen"] != row["rejected"]
    assert sorted(len(row["prompt"]) for row in found) == [1, 3]


def test_parquet_holds_the_same_rows(data, world: World, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    world.answer()
    path = tmp_path / "picks.parquet"
    path.write_bytes(parquet_bytes(rows(data, ExportFormat.PARQUET)))
    assert parquet.read_table(path).to_pylist() == rows(data, ExportFormat.PREFERENCE)
    path.write_bytes(parquet_bytes([]))
    assert parquet.read_table(path).num_rows == 0


def test_a_data_set_has_its_splits_and_says_how_it_came_about(data, world: World) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    world.answer()
    world.answer(world.ask(world.prompt(held_out=True, text="kept apart")))
    content = file_bytes(rows(data, ExportFormat.DATASET), DATASET)
    archive = zipfile.ZipFile(io.BytesIO(content))
    prompts = {}
    for split in ("train", "test"):
        name = f"twofold-choices/data/{split}-00000-of-00001.parquet"
        table = parquet.read_table(io.BytesIO(archive.read(name))).to_pylist()
        prompts[split] = [row["prompt"][0]["content"] for row in table]
    assert prompts == {"train": ["hello"], "test": ["kept apart"]}
    card = archive.read("twofold-choices/README.md").decode()
    assert "path: data/test-*.parquet" in card and "| train | 1 |" in card


@pytest.mark.parametrize("format_", [ExportFormat.PARQUET, ExportFormat.DATASET])
def test_a_binary_file_without_meta_has_the_texts_alone(data, world: World, format_) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    world.answer(world.ask(world.prompt(held_out=True, text="kept apart")))
    options = ExportOptions(format=format_, meta=False)
    content = file_bytes(data.export(ALL, options), options)
    if format_ is ExportFormat.DATASET:
        archive = zipfile.ZipFile(io.BytesIO(content))
        assert "meta_" not in archive.read("twofold-choices/README.md").decode()
        content = archive.read("twofold-choices/data/test-00000-of-00001.parquet")
    table = parquet.read_table(io.BytesIO(content))
    assert table.column_names == ["prompt", "chosen", "rejected"] and table.num_rows == 1


def test_a_machine_without_pyarrow_is_told_the_command_of_the_handbook(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ChatError) as told:
        parquet_bytes([])
    handbook = Path(__file__).parents[2] / "docs" / "data.md"
    command = str(told.value).removesuffix(".").rpartition(": ")[2]
    assert f"`{command}`" in handbook.read_text(encoding="utf-8")


def test_a_plain_file_leaves_in_every_format_and_is_known_when_it_comes_back(
    data_of, world: World, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    data = data_of(world)
    plain = {"prompt": "why?", "chosen": "because", "rejected": "no idea"}
    odd = {
        "prompt": "what?",
        "meta_first_version": "gpt-4",
        "meta_second_version": 10**20,
        "meta_reason": {"why": "so"},
        "meta_reasons": "clear",
        "meta_propensity": 0.5,
        "meta_source": "elsewhere",
    }
    file = tmp_path / "plain.jsonl"
    file.write_text("".join(json_lines([plain, plain | odd])))
    data.importing.start(data.importing.preview(file, file.name).key)
    data_of.service.drain()

    exported = rows(data, ExportFormat.PREFERENCE)
    assert {name: exported[1][name] for name in odd if name != "prompt"} == {
        name: value for name, value in odd.items() if name != "prompt"
    }
    kept_apart = [one.comparison.token for one in world.feedback.held_out()]
    for row in exported:
        assert row["meta_held_out"] is (row["meta_id"] in kept_apart)
    table = parquet.read_table(io.BytesIO(parquet_bytes(rows(data, ExportFormat.PARQUET))))
    lost = ("meta_first_version", "meta_second_version", "meta_reason", "meta_reasons")
    assert [table[name].to_pylist()[1] for name in lost] == [None] * 4
    assert table["meta_propensity"].to_pylist() == [None, 0.5]
    content = file_bytes(rows(data, ExportFormat.DATASET), DATASET)
    assert b"Choices between two replies" in content

    data.correct(data.page(ALL).rows[1].id, Choice.TIE)
    file.write_text("".join(json_lines(exported)))  # the id knows it, whatever is said of it now
    again = data.importing.preview(file, file.name)
    assert (again.new, again.known) == ((), 2)


@pytest.mark.parametrize("format_", [ExportFormat.PREFERENCE, ExportFormat.EVERYTHING])
def test_an_export_comes_back_unchanged_here_and_elsewhere(
    data_of, world: World, tmp_path: Path, format_: ExportFormat
) -> None:
    data = data_of(world)
    for choice in (Choice.FIRST, Choice.SECOND, Choice.TIE):
        world.answer(choice=choice)
    world.answer(world.ask(world.prompt(held_out=True, text="kept apart")))
    file = tmp_path / "picks.jsonl"
    file.write_text("".join(json_lines(rows(data, format_))))
    here = data.importing.preview(file, file.name)
    assert here.new == () and here.known == len(file.read_text().splitlines())

    other = World.open(tmp_path / "elsewhere")
    with other.store:
        there = data_of(other)
        there_service = data_of.service
        preview = there.importing.preview(file, file.name)
        assert len(preview.new) == here.known and preview.bad_lines == 0
        there.importing.start(preview.key)
        there_service.drain()
        assert there.importing.progress().added == here.known
        assert "".join(json_lines(rows(there, format_))) == file.read_text()
        assert len(other.feedback.held_out()) == 1
        assert all(
            one.comparison.first.completion.token_ids for one in other.feedback.preferences()
        )
        there_service.close()


def test_what_was_not_to_be_learned_from_teaches_nobody_after_a_journey(
    data_of, world: World, tmp_path: Path
) -> None:
    data = data_of(world)
    left_out = world.ask(world.prompt(text="left out"))
    world.answer(left_out)
    data.exclude(left_out.id)
    forgotten = world.ask(world.prompt(text="forgotten"))
    world.answer(forgotten)
    data.forget(forgotten.id)
    world.answer(world.ask(world.prompt(text="not to learn from", learn=False)))
    world.answer(world.ask(world.prompt(text="teaches")))
    exported = {format_: rows(data, format_) for format_ in ExportFormat}
    file = tmp_path / "picks.jsonl"

    other = World.open(tmp_path / "elsewhere")
    with other.store:
        there = data_of(other)
        there_service = data_of.service
        file.write_text("".join(json_lines(exported[ExportFormat.MESSAGES])))
        preview = there.importing.preview(file, file.name)
        assert (len(preview.new), preview.bad_lines) == (1, 3)
        assert "not to be learned from" in preview.problems[0].sentence

        file.write_text("".join(json_lines(exported[ExportFormat.PREFERENCE])))
        there.importing.start(there.importing.preview(file, file.name).key)
        there_service.drain()
        [taught] = other.feedback.preferences()
        assert taught.comparison.prompt[0].content == "teaches"
        again = rows(there, ExportFormat.PREFERENCE)
        assert again == exported[ExportFormat.PREFERENCE]
        assert [row["meta_excluded"] for row in again] == [True, True, True, False]

        there.include(there.page(ALL).rows[3].id)  # what a person says here counts from now on
        there.exclude(taught.comparison.id)
        again = rows(there, ExportFormat.PREFERENCE)
        assert [row["meta_excluded"] for row in again] == [False, True, True, True]
        there_service.close()


def test_nothing_of_an_imported_chat_is_left_when_it_is_deleted(
    data_of, world: World, tmp_path: Path
) -> None:
    data = data_of(world)
    file = tmp_path / "picks.jsonl"
    line = {"prompt": "why so?", "chosen": "because", "rejected": "no idea", "meta_x": "doctor"}
    file.write_text(json.dumps(line))
    preview = data.importing.preview(file, file.name)
    data.importing.start(preview.key)
    data_of.service.drain()
    chat = data.detail(data.page(ALL).rows[0].id).comparison.conversation_id

    def stored() -> bytes:
        return b"".join(one.read_bytes() for one in world.folder.root.glob("twofold.db*"))

    told = (b"why so?", b"no idea", b"doctor")
    assert all(one in stored() for one in told)
    data.delete_chat(chat, unlearn=True)
    assert not any(one in stored() for one in (*told, preview.new[0].sha256.encode()))
    again = data.importing.preview(file, file.name)
    assert (again.new, again.known) == ((), 1)


def test_an_import_that_cannot_be_begun_says_why(data, world: World, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    with pytest.raises(ChatError, match="cannot be read"):
        data.importing.preview(file, file.name)
    file.write_text("")
    with pytest.raises(ChatError, match="is empty"):
        data.importing.preview(file, file.name)
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(ChatError, match="not UTF-8"):
        data.importing.preview(file, file.name)
    file.write_text("{}\n" * 20)
    preview = data.importing.preview(file, file.name)
    assert preview.bad_lines == 20 and len(preview.problems) == 8
    with pytest.raises(ChatError, match="nothing new"):
        data.importing.start(preview.key)
    with pytest.raises(ChatError, match="too old"):
        data.importing.start("unknown")


def test_a_filter_in_words_is_checked(world: World) -> None:
    said = PickQuery(words="sky", choice="tie", version="v2", state="left-out", since="2026-11-02")
    assert PickQuery.of({"choice": "tie", "colour": "red"}) == PickQuery(choice="tie")
    made = said.filter()
    assert made.counts is False and made.version == 2 and made.since.day == 2
    for wrong in (
        {"choice": "x"},
        {"version": "two"},
        {"version": "v" + "9" * 30},
        {"version": "9" * 5000},
        {"since": "2.11."},
        {"state": "x"},
    ):
        with pytest.raises(ChatError):
            PickQuery(**wrong).filter()


def test_the_last_day_that_there_is_leaves_nothing_out(data, world: World) -> None:
    world.pick()
    assert data.page(PickQuery(since="0001-01-01", until="9999-12-31").filter()).total == 1


def test_a_system_prompt_and_earlier_turns_travel(data, world: World) -> None:
    turn = world.prompt(text="first question")
    world.log.reply(turn.id, completion("an answer"))
    second = world.log.say(turn.conversation_id, "second question")
    world.answer(world.ask(second))
    [row] = rows(data, ExportFormat.PREFERENCE)
    assert [message["content"] for message in row["prompt"]] == [
        "first question",
        "an answer",
        "second question",
    ]
