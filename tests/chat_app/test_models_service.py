"""Versions as a person sees them: the tree, the figures, who speaks, and one to take along."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from chat_app.downloads import add_downloads
from chat_app.errors import ChatError
from chat_app.interval import wilson
from chat_app.merged_model import sweep_downloads, write_merged
from chat_app.models_service import ModelsService, VersionCard, lanes
from chat_app.wording_models import card_label, gate_rows, standing, won
from storage import rounds
from storage.duels import Duel, DuelReader
from storage.pruning import prune
from storage.records import Choice, PolicyVersionId, RoundStatus
from tests.storage.builders import BASE_SHA256, QUESTION, World, completion, leave
from tests.storage.faults import WEIGHTS, flip
from tests.tiny import write_tiny_adapter, write_tiny_model


@pytest.fixture
def models(world: World) -> ModelsService:
    return ModelsService(
        policies=world.policies,
        duels=DuelReader(world.store),
        model_name="some/model",
        changed=lambda: None,
    )


def learn(world: World) -> None:
    world.learn([world.pick()])


def test_the_tree_tells_who_comes_from_whom_and_who_speaks(world, models) -> None:
    learn(world)
    learn(world)
    models.make_live(PolicyVersionId(1))
    learn(world)
    world.policies.reject(PolicyVersionId(2), reason="it stammers")
    cards = {card.id: card for card in models.versions()}
    assert [card.id for card in models.versions()] == [3, 2, 1, 0]
    assert {id_: card.parent for id_, card in cards.items()} == {3: 1, 2: 1, 1: 0, 0: None}
    assert [id_ for id_, card in cards.items() if card.live] == [3]
    assert [id_ for id_, card in cards.items() if card.on_live_line] == [3, 1, 0]
    assert cards[2].why_not == "it stammers" and cards[3].servable and cards[3].picks == 1
    assert lanes(models.versions()) == ["●", "│ ●", "●", "●"]
    with pytest.raises(ChatError, match="rejected"):
        models.make_live(PolicyVersionId(2))
    with pytest.raises(ChatError, match="live already"):
        models.make_live(PolicyVersionId(3))


def test_a_number_that_no_version_can_have_is_told(models) -> None:
    api = FastAPI()
    add_downloads(api, SimpleNamespace(models=models))
    http = TestClient(api)
    for number in (10**18, 10**30, -(10**30)):
        answer = http.get(f"/download/adapter/{number}")
        assert answer.status_code == 400 and answer.text.endswith(".")
    with pytest.raises(ChatError):
        models.make_live(PolicyVersionId(10**30))


def test_rolling_back_passes_over_who_may_not_speak(world, models) -> None:
    for _ in range(3):
        learn(world)
    world.policies.reject(PolicyVersionId(2), reason="it stammers")
    assert models.roll_back() == 1
    assert models.roll_back() == 0
    with pytest.raises(ChatError, match="nothing before"):
        models.roll_back()


def test_rolling_back_passes_over_whose_weights_are_damaged(world, models) -> None:
    """Sizes are looked at when the app starts, and every byte before a version speaks."""
    for _ in range(3):
        learn(world)
    flip(world.folder.rounds / "r000002" / WEIGHTS)
    assert models.roll_back() == 1
    assert PolicyVersionId(2) not in world.policies.servable()


def test_a_line_without_branches_needs_no_picture(world, models) -> None:
    learn(world)
    assert lanes(models.versions()) == ["", ""]


def test_branches_end_in_the_lane_of_their_parent() -> None:
    def card(id_: int, parent: int | None) -> VersionCard:
        return VersionCard(
            id=PolicyVersionId(id_),
            parent=None if parent is None else PolicyVersionId(parent),
            above=None if parent is None else PolicyVersionId(parent),
            kept=True,
            created_at=None,
            live=False,
            on_live_line=False,
            servable=True,
            why_not="",
            picks=0,
            note="",
            duel=None,
        )

    tree = [card(5, 3), card(4, 2), card(3, 2), card(2, 0), card(1, 0), card(0, None)]
    assert lanes(tree) == ["●", "│ ●", "● │", "●", "│ ●", "●"]


def test_what_is_not_kept_is_not_listed_unless_somebody_looks_at_it(world, models) -> None:
    for _ in range(12):
        learn(world)
    dropped = prune(world.policies)
    listed = [card.id for card in models.versions()]
    assert dropped and not set(dropped) & set(listed) and {0, 12} <= set(listed)
    assert set(lanes(models.versions())) == {""}  # one line, though some of it is gone
    [card] = [card for card in models.versions(also=dropped[0]) if card.id == dropped[0]]
    assert not card.kept and not card.servable
    assert standing(card) == "It is not kept any more, to save space."
    assert "not kept any more" in card_label(card, "", datetime.now(UTC))
    assert models.detail(dropped[0]).size_bytes == 0
    with pytest.raises(ChatError, match="not kept any more"):
        models.make_live(dropped[0])
    with pytest.raises(ChatError, match="not kept any more"):
        models.adapter(dropped[0])


def test_a_version_tells_its_lesson_and_its_size(world, models) -> None:
    learn(world)
    detail = models.detail(PolicyVersionId(1))
    assert detail.lesson.number == 1 and detail.size_bytes == 2048 + len('{"r": 8}')
    assert models.detail(PolicyVersionId(0)).lesson is None
    with pytest.raises(ChatError, match="no policy version 9"):
        models.detail(PolicyVersionId(9))


def test_duels_count_for_the_version_that_was_chosen(world, models) -> None:
    learn(world)

    def duel(first: int, second: int, choice: Choice) -> None:
        turn = world.prompt()
        pair = world.log.ask(
            turn.id, completion("a", version=first), completion("b", version=second), QUESTION
        )
        world.answer(pair, choice)

    duel(1, 0, Choice.FIRST)
    duel(0, 1, Choice.SECOND)
    duel(0, 1, Choice.FIRST)
    duel(0, 1, Choice.TIE)
    duel(0, 1, Choice.SKIP)
    [found] = models.detail(PolicyVersionId(1)).duels
    assert found == Duel(newer=1, older=0, won=2, lost=1, tied=1)
    assert won(found, PolicyVersionId(1)).startswith("against v0: chosen 2 of 3 times (21 to 94 %")
    assert won(found, PolicyVersionId(0)).startswith("against v1: chosen 1 of 3 times")
    assert models.versions()[0].duel == found


def test_the_zip_is_a_peft_folder_with_a_card_and_no_path_of_this_machine(world, models) -> None:
    def write(folder) -> None:
        config = {"r": 8, "base_model_name_or_path": "/home/somebody/model"}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "optimizer.safetensors").write_bytes(b"moments")
        (folder / "README.md").write_text("/home/somebody/model")

    from storage import rounds
    from tests.storage.builders import leave

    leave(world.folder.rounds, world.report([world.pick()]), write)
    rounds.collect(world.policies)
    archive = zipfile.ZipFile(io.BytesIO(models.adapter(PolicyVersionId(1))))
    assert archive.namelist() == [
        "twofold-v1/adapter_config.json",
        "twofold-v1/adapter_model.safetensors",
        "twofold-v1/README.md",
    ]
    assert json.loads(archive.read("twofold-v1/adapter_config.json")) == {
        "r": 8,
        "base_model_name_or_path": "some/model",
    }
    card = archive.read("twofold-v1/README.md").decode()
    assert "base_model: some/model" in card and "| loss | 0.5 |" in card
    assert b"/home/somebody" not in b"".join(archive.read(name) for name in archive.namelist())
    with pytest.raises(ChatError, match="no adapter"):
        models.adapter(PolicyVersionId(0))
    path = world.folder.rounds / "r000001" / "adapter" / "adapter_model.safetensors"
    path.write_bytes(b"WEIGHTS")
    with pytest.raises(ChatError, match="not what the round wrote"):
        models.adapter(PolicyVersionId(1))


@pytest.fixture
def whole(world: World, tmp_path: Path) -> ModelsService:
    """The same over a real tiny model; version 1 is an adapter of it, version 2 is none."""
    tiny = replace(write_tiny_model(tmp_path / "tiny"), sha256=BASE_SHA256)
    adapter = partial(write_tiny_adapter, tiny)
    leave(world.folder.rounds, world.report([world.pick()]), adapter)
    rounds.collect(world.policies)
    learn(world)
    return ModelsService(
        policies=world.policies,
        duels=DuelReader(world.store),
        model_name="some/model",
        changed=lambda: None,
        base=tiny,
    )


def test_a_version_leaves_as_a_whole_model_that_loads_by_itself(world, whole, tmp_path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    content = b"".join(whole.merged(PolicyVersionId(1)))
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    archive.extractall(tmp_path / "there")
    folder = tmp_path / "there" / "twofold-v1-merged"
    assert AutoModelForCausalLM.from_pretrained(folder).config.num_hidden_layers == 2
    assert AutoTokenizer.from_pretrained(folder).chat_template
    card = (folder / "README.md").read_text()
    assert "base_model: tiny" in card and "1 choices in this lesson" in card
    for file in folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()
    assert list(world.folder.root.glob(".download-*")) == []


def test_what_cannot_be_merged_says_why_and_leaves_nothing(world, whole, models, tmp_path) -> None:
    one, two = PolicyVersionId(1), PolicyVersionId(2)
    with pytest.raises(ChatError, match="no adapter"):
        whole.merged(PolicyVersionId(0))
    with pytest.raises(ChatError, match="no policy version 9"):
        whole.merged(PolicyVersionId(9))
    with pytest.raises(ChatError, match="can't be merged"):
        whole.merged(two)  # its files are no safetensors
    with pytest.raises(ChatError, match="no model here"):
        models.merged(one)
    other = replace(whole._base, sha256="0" * 64)
    with pytest.raises(ChatError, match="another base model"):
        write_merged(world.policies, one, other, tmp_path / "new")
    with pytest.raises(ChatError, match="is there already"):
        write_merged(world.policies, one, whole._base, tmp_path / "tiny")
    assert not (tmp_path / "new").exists()
    unread = whole.merged(one)
    next(unread)
    assert len(list(world.folder.root.glob(".download-*"))) == 1
    del unread  # whoever asked for it went away
    left = world.folder.root / ".download-killed"
    left.mkdir()
    sweep_downloads(world.folder.root)
    assert list(world.folder.root.glob(".download-*")) == []


def test_one_version_is_merged_at_a_time(whole, monkeypatch) -> None:
    one = PolicyVersionId(1)

    def merge(*_: object) -> Iterator[bytes]:
        with pytest.raises(ChatError, match="being merged"):
            whole.merged(one)  # as a second request would
        return iter([b"a model"])

    monkeypatch.setattr("chat_app.models_service.merged_zip", merge)
    for _ in range(2):
        assert list(whole.merged(one)) == [b"a model"]
    monkeypatch.undo()
    for _ in range(2):  # one that fails is over, too
        with pytest.raises(ChatError, match="no adapter"):
            whole.merged(PolicyVersionId(0))


def test_the_gates_figures_stand_beside_their_limits() -> None:
    rows = gate_rows(
        {"length_ratio": 1.25, "repetition": 0.1, "loss": 0.5},
        {"min_length_ratio": 0.4, "max_length_ratio": 2.0},
    )
    assert rows == [
        ("Length of replies, over its parent's", "1.25", "at least 0.4, at most 2"),
        ("Share of repeated token pairs", "0.1", ""),
    ]


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    # The last two are in Newcombe (Statistics in Medicine 17, 1998), table I.
    [(0, 0, (0.0, 1.0)), (81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605))],
)
def test_the_interval_is_wilsons(successes, n, expected) -> None:
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


def test_a_refused_lesson_is_no_version(world, models) -> None:
    world.learn([world.pick()], status=RoundStatus.REFUSED)
    assert [card.id for card in models.versions()] == [0]


def test_a_note_stays_until_it_is_replaced_or_emptied(world, models) -> None:
    learn(world)
    one = PolicyVersionId(1)
    models.note(one, " kinder, and shorter ")
    models.note(PolicyVersionId(0), "the start")
    assert [card.note for card in models.versions()] == ["kinder, and shorter", "the start"]
    models.note(one, "")
    assert models.detail(one).card.note == ""
    with pytest.raises(ChatError, match="at most 2,000"):
        models.note(one, "x" * 2001)
    with pytest.raises(ChatError, match="no policy version 9"):
        models.note(PolicyVersionId(9), "who?")
