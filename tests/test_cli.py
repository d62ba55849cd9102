"""The command line: how settings are read, what a command answers, how a mistake is told."""

import errno
import inspect
import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import app
from chat_app import chat_commands, cli, port
from chat_app.cli import run
from chat_app.saved_settings import SavedSettings, write_saved
from chat_app.settings import Learning, ServeOptions, Settings
from learner.config import AskMode, Decoder, Prompting, QueryRule
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.update_config import UpdateRuleName
from storage.database import Store
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.policy_registry import PolicyRegistry
from storage.pruning import prune
from storage.records import BASE_VERSION
from tests.simulate.small import simulated, write_files
from tests.storage.builders import World
from tests.tiny import write_tiny_model

PAIRS = ("--pairs", "x", "--query", "random", "--seeds", 2, "--out", "y")


@dataclass
class Answer:
    status: int
    out: str
    err: str


@pytest.fixture
def twofold(capsys: pytest.CaptureFixture[str]):
    """Run a command; ``serve`` really serves."""

    def command(*args: object) -> Answer:
        with pytest.raises(SystemExit) as ended:
            run(app.serve, [str(arg) for arg in args])
        printed = capsys.readouterr()
        return Answer(ended.value.code, printed.out, printed.err)

    before = signal.getsignal(signal.SIGTERM)
    yield command
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run ``serve`` up to the point where it would start: what it would be given."""

    monkeypatch.setenv("TWOFOLD_HOME", str(tmp_path / "home"))  # whoever runs this has one, too

    def command(*args: object) -> tuple[Settings, ServeOptions]:
        given: list[tuple[Settings, ServeOptions]] = []
        with pytest.raises(SystemExit) as ended:
            run(lambda *both: given.append(both), [str(arg) for arg in args])
        assert ended.value.code == 0
        return given[0]

    return command


def tiny(folder: Path) -> ModelFolder:
    """The tiny model under ``folder``, with its true digest, which ``--model`` finds again."""
    return resolve_model(str(write_tiny_model(folder / "tiny").path), cache=folder / "cache")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with picks and a few versions, made by a simulation."""
    folder = tmp_path_factory.mktemp("learned")
    write_files(folder)
    simulated(folder, tiny(folder), "out")
    return folder / "out" / "data"


# --- settings -------------------------------------------------------------------------------------


def test_no_command_means_serve(parsed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TWOFOLD_HOME", str(tmp_path))
    settings, options = parsed()
    assert settings.data == tmp_path and options == ServeOptions()
    _, options = parsed("--port", 7999, "--no-open")
    assert (options.port, options.open_browser) == (7999, False)


def test_a_flag_beats_the_environment_which_beats_the_default(
    parsed, monkeypatch: pytest.MonkeyPatch
):
    assert parsed("serve")[0].ask.mode is AskMode.AUTO
    monkeypatch.setenv("TWOFOLD_ASK", "never")
    assert parsed("serve")[0].ask.mode is AskMode.NEVER
    assert parsed("serve", "--ask", "always")[0].ask.mode is AskMode.ALWAYS


def test_refusals_are_taught_beside_answers_or_not_at_all(twofold, tmp_path):
    harmful, harmless = tmp_path / "harmful.jsonl", tmp_path / "harmless.jsonl"
    harmful.write_text("".join(f'{{"prompt": "Threaten {i}."}}\n' for i in range(20)))
    harmless.write_text("")
    out = tmp_path / "teach.jsonl"
    wanted = ("--harmful", harmful, "--harmless", harmless, "--out", out)
    answer = twofold("teach-refusals", *wanted)
    assert answer.status == 2 and "harmless.jsonl has no prompts: name another" in answer.err
    harmless.write_text("".join(f'{{"prompt": "Kill process {i}?"}}\n' for i in range(20)))
    model = write_tiny_model(tmp_path / "tiny")
    (tmp_path / "data").mkdir()
    answer = twofold("teach-refusals", *wanted, "--model", model.path, "--data", tmp_path / "data")
    assert answer.status == 0, answer.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["set"] for row in rows} >= {"refusal"}
    assert f"answers are in {out}" in answer.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"set": "a", "prompt": "Threaten."}', "There is no set b in"),
        (b'{"set": "a", "prompt": "?"}\n{"set": "b", "prompt": " "}', 'line 2: expected {"prompt"'),
        (b'"Threaten."', "line 1: expected an object"),
        (b'{"set": "b", "prompt": "H\xfcr"}', "line 1: this is no text in UTF-8"),
        (b"", "There is no set b in"),
    ],
)
def test_a_file_of_prompts_that_cannot_be_used_is_told(twofold, tmp_path, content, said):
    model = write_tiny_model(tmp_path / "tiny")
    harmful = tmp_path / "harmful.jsonl"
    harmful.write_bytes(content)
    (tmp_path / "data").mkdir()
    where = ("--data", tmp_path / "data", "--model", model.path)
    answer = twofold("refusals", "--harmful", harmful, "--set", "b", *where)
    assert answer.status == 2 and said in answer.err and "Traceback" not in answer.err


def test_every_option_reaches_its_setting(parsed, tmp_path: Path):
    settings, options = parsed(
        *("serve", "--data", tmp_path, "--model", "m", "--port", 1234, "--no-open", "--demo"),
        *("--ask", "never", "--query", "random", "--learn", "reward-only", "--candidates", 3),
        *("--temperature", 0.5, "--top-k", 7, "--top-p", 0.5, "--max-new-tokens", 9),
        *("--budget", 0.1, "--min-picks", 9),
        *("--seed", 5, "--device", "cpu", "--dtype", "float32", "--threads", 1),
    )
    assert options == ServeOptions(port=1234, open_browser=False, demo=True)
    assert (settings.data, settings.model) == (tmp_path, "m")
    assert settings.learning is Learning.REWARD_ONLY
    ask = settings.ask
    assert (ask.mode, ask.query, ask.candidates) == (AskMode.NEVER, QueryRule.RANDOM, 3)
    assert (ask.budget_share, settings.online.min_preferences) == (0.1, 9)
    engine = settings.engine
    sampling = engine.sampling
    assert (sampling.temperature, sampling.top_k) == (0.5, 7)
    assert (sampling.top_p, sampling.max_new_tokens) == (0.5, 9)
    assert (engine.seed, engine.device, engine.dtype, engine.threads) == (5, "cpu", "float32", 1)


def test_the_terminal_takes_what_the_page_takes(monkeypatch: pytest.MonkeyPatch):
    serve, chat = (inspect.signature(one) for one in (chat_commands.serve, chat_commands.chat))
    of_the_page = {"port", "host", "open_browser", "api", "api_log"}
    assert serve.parameters.keys() - chat.parameters.keys() == of_the_page
    given: list[Settings] = []
    monkeypatch.setenv("TWOFOLD_QUERY", "random")
    args = ["chat", "--demo", "--update", "kto", "--prompting", "few-shot"]
    with pytest.raises(SystemExit):
        run(app.serve, args, chat=lambda settings, _: given.append(settings))
    [settings] = given
    assert settings.ask.query is QueryRule.RANDOM
    assert settings.online.update.rule is UpdateRuleName.KTO
    assert settings.engine.prompting is Prompting.FEW_SHOT


@pytest.mark.parametrize("flag", ["--engine", "--decoder"])
def test_an_engine_is_chosen_by_either_name(parsed, flag: str):
    settings, _ = parsed("serve", flag, "vllm", "--vllm-memory", 0.3)
    assert settings.engine.decoder is Decoder.VLLM
    assert settings.engine.vllm_memory == 0.3


def test_what_was_saved_counts_unless_a_flag_or_the_environment_says_otherwise(
    parsed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = DataFolder(tmp_path)
    saved = SavedSettings(ask="always", temperature=0.3, budget=0.1, learn="off", min_picks=9)
    write_saved(folder.settings, saved)
    monkeypatch.setenv("TWOFOLD_BUDGET", "0.2")
    settings, _ = parsed("serve", "--data", tmp_path, "--temperature", 0.5)
    assert settings.ask.mode is AskMode.ALWAYS and settings.learning is Learning.OFF
    assert settings.engine.sampling.temperature == 0.5
    assert settings.ask.budget_share == 0.2 and settings.online.min_preferences == 9
    settings, _ = parsed("serve", "--data", tmp_path, "--demo")
    assert settings.ask.mode is AskMode.AUTO  # nothing of this folder is used there


def test_a_lesson_goes_by_what_was_saved_but_for_how_many_picks_it_waits_for(
    twofold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given: list[Settings] = []
    monkeypatch.setattr(cli, "resolve_model", lambda spec, **_: spec)
    monkeypatch.setattr(cli, "learn_from_folder", lambda settings, *_, **__: given.append(settings))
    saved = SavedSettings(model="m", keep_versions=True, min_picks=9, max_new_tokens=99)
    write_saved(DataFolder(tmp_path).settings, saved)
    learn = ("learn", "--once", "--data", tmp_path)
    assert twofold(*learn).status == 0
    assert twofold(*learn, "--no-keep-versions", "--model", "built-in").status == 0
    as_saved, as_told = given
    assert (as_saved.model, as_saved.keep_versions) == ("m", True)
    assert as_saved.engine.sampling.max_new_tokens == 99
    assert as_saved.online.min_preferences == 1
    assert (as_told.model, as_told.keep_versions) == ("built-in", False)


@pytest.mark.parametrize(
    "command",
    [
        ("learn", "--once"),
        ("import", "pairs.jsonl"),
        ("refusals",),
        ("teach-refusals", "--harmful", "pairs.jsonl", "--harmless", "pairs.jsonl", "--out", "x"),
        ("versions", "export", "--merged", "x", "--version", 1),
        ("train", "sft"),
        ("env",),
    ],
)
def test_a_model_that_was_saved_is_every_commands(
    twofold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...]
):
    monkeypatch.chdir(tmp_path)
    rows = ({"prompt": f"Why {i}?", "chosen": "So.", "rejected": "No."} for i in range(20))
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    World.open(tmp_path / "data").store.close()
    write_saved(tmp_path / "data" / "settings.json", SavedSettings(model="./nowhere"))
    answer = twofold(*command, "--data", tmp_path / "data")
    assert "There is no model folder ./nowhere" in answer.out + answer.err


def test_a_settings_file_that_cannot_be_read_is_told(twofold, tmp_path: Path):
    DataFolder(tmp_path).settings.mkdir()
    answer = twofold("serve", "--no-open", "--data", tmp_path)
    assert answer.status == 2 and "mend it, or remove it" in answer.err


def test_a_torn_settings_file_is_told(twofold, tmp_path: Path):
    DataFolder(tmp_path).settings.write_text("{oh no")
    answer = twofold("serve", "--no-open", "--data", tmp_path)
    assert answer.status == 2 and "mend it, or remove it" in answer.err


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ('{"temperature": "hot"}', "temperature"),
        ('{"candidates": "4"}', "candidates"),
        ('{"candidates": 3.5}', "candidates"),
        ('{"top_k": 0}', "top_k"),
        ('{"ask": 3}', "ask"),
        ("[1]", "no JSON object"),
    ],
)
def test_a_settings_file_with_a_value_that_is_not_allowed_is_told(
    twofold, tmp_path: Path, saved: str, name: str
):
    DataFolder(tmp_path).settings.write_text(saved)
    answer = twofold("serve", "--no-open", "--data", tmp_path)
    assert answer.status == 2 and "mend it, or remove it" in answer.err
    assert name in answer.err and "Traceback" not in answer.err


@pytest.mark.parametrize(
    "args",
    [
        ("serve", "--temperature", 9),
        ("serve", "--candidates", 1),
        ("serve", "--vllm-memory", 1.5),
        ("serve", "--ask", "sometimes"),
        ("serve", "--port", 70000),
        ("serve", "--host", "0.0.0.0"),  # noqa: S104
        ("serve", "--host", "192.168.1.5"),
        ("simulate", "--turns", 3),
        (
            "reward-eval",
            "--pairs",
            "x",
            "--query",
            "random",
            "--labels",
            "a",
            "--seeds",
            2,
            "--out",
            "y",
        ),
        ("versions", "rollback", "-1"),
        ("versions", "rollback", 10**30),
        ("versions", "export", "--merged", "x", "--version", 10**30),
        ("refusals", "--version", 10**30),
        ("export", "--version", 10**30),
        ("train", "sft", "--from", 10**30),
        ("versions", "list", "--data", "~nobody-of-this-name/x"),
    ],
)
def test_a_bad_value_ends_with_status_2(twofold, args: tuple[object, ...]):
    assert twofold(*args).status == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_computer_may_be_named(parsed, host: str):
    parsed("serve", "--host", host)


# --- answers --------------------------------------------------------------------------------------


def test_the_database_path_goes_to_standard_output(twofold, tmp_path: Path):
    assert twofold("db", "path", "--data", tmp_path).out.strip() == str(tmp_path / "twofold.db")


def test_env_names_what_a_bug_report_needs(twofold, tmp_path: Path):
    model = write_tiny_model(tmp_path / "tiny").path
    answer = twofold("env", "--json", "--data", tmp_path, "--model", model)
    report = json.loads(answer.out)
    assert {"system", "python", "torch", "sqlite", "cpu", "dtype", "model"} <= report.keys()
    assert "tiny" in report["model"] and "WAL" in report["sqlite"]
    assert "sqlite" in twofold("env", "--model", "./nowhere").out, "a fault is an entry, too"
    (model / "config.json").write_text("[]")
    assert "is damaged" in twofold("env", "--model", model).out


def test_versions_are_listed_and_rolled_back(twofold, learned: Path):
    before = json.loads(twofold("versions", "list", "--json", "--data", learned).out)
    assert before[0] | {"created_at": ""} == {
        "version": 0,
        "parent": None,
        "live": False,
        "created_at": "",
        "kept": True,
    }
    assert [row["live"] for row in before].count(True) == 1

    assert twofold("versions", "rollback", 0, "--data", learned).status == 0
    assert "live" in twofold("versions", "list", "--data", learned).out.splitlines()[0]

    newest = before[-1]["version"]
    assert twofold("versions", "rollback", newest, "--data", learned).status == 0
    with Store(DataFolder(learned).database) as store:
        assert PolicyRegistry(store, DataFolder(learned).rounds).current().id == newest


def test_a_version_is_written_as_a_whole_model(twofold, learned: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM

    tiny, there = learned.parents[1] / "tiny", ("--data", learned)
    newest = json.loads(twofold("versions", "list", "--json", *there).out)[-1]["version"]
    twofold("versions", "rollback", newest, *there)
    export = ("versions", "export", "--model", tiny, *there)
    answer = twofold(*export, "--merged", tmp_path / "a" / "whole", "--dtype", "bfloat16")
    assert (answer.status, answer.err) == (0, "")
    assert f"Version {newest} as a whole model" in answer.out
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "whole", dtype="auto")
    assert str(model.dtype) == "torch.bfloat16"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]

    again = twofold(*export, "--merged", tmp_path / "a" / "whole")
    assert again.status == 2 and "is there already" in again.err
    unknown = twofold(*export, "--merged", tmp_path / "b", "--version", 999)
    assert unknown.status == 2 and "no policy version 999" in unknown.err
    twofold("versions", "rollback", 0, *there)
    answer = twofold(*export, "--merged", tmp_path / "b")
    assert answer.status == 2 and "name a --version" in answer.err
    twofold("versions", "rollback", newest, *there)


def test_an_unknown_version_is_told(twofold, learned: Path):
    answer = twofold("versions", "rollback", 999, "--data", learned)
    assert answer.status == 2
    assert answer.err.startswith("twofold: There is no policy version 999")


def test_versions_that_are_not_kept_are_told_so(twofold, tmp_path: Path):
    world = World.open(tmp_path / "data")
    for _ in range(9):
        world.learn([world.pick()])
    [dropped] = prune(world.policies)
    world.store.close()
    there = ("--data", tmp_path / "data")
    rows = json.loads(twofold("versions", "list", "--json", *there).out)
    assert [row["version"] for row in rows if not row["kept"]] == [dropped]
    lines = twofold("versions", "list", *there).out.splitlines()
    assert [line.endswith("not kept") for line in lines].index(True) == dropped
    refused = twofold("versions", "rollback", dropped, *there)
    assert refused.status == 2 and "not kept any more" in refused.err


def test_a_folder_without_a_chat_has_no_versions(twofold, tmp_path: Path):
    for args in (("list",), ("rollback", 0)):
        answer = twofold("versions", *args, "--data", tmp_path)
        assert answer.status == 2 and "start twofold there first" in answer.err
    assert not (tmp_path / "twofold.db").exists()


def test_learn_once_learns_from_stored_picks_and_then_has_nothing_to_do(twofold, tmp_path: Path):
    write_files(tmp_path)
    model = tiny(tmp_path)
    simulated(tmp_path, model, "out", turns=6, learning=Learning.REWARD_ONLY)
    data = tmp_path / "out" / "data"

    args = ("learn", "--once", "--data", data, "--model", model.path)
    assert "Round 1 was " in twofold(*args).out
    assert "no new pick" in twofold(*args).out
    with Store(DataFolder(data).database) as store:
        [report] = PolicyRegistry(store, DataFolder(data).rounds).rounds_log()
    assert report.parent == BASE_VERSION and len(report.preference_ids) > 0


# --- mistakes -------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    with DataFolder(tmp_path / "held").claim():
        yield tmp_path / "held"


@pytest.mark.parametrize("command", [("serve", "--no-open"), ("learn", "--once")])
def test_a_folder_in_use_is_told(twofold, held: Path, command: tuple[str, ...], tmp_path: Path):
    model = write_tiny_model(tmp_path / "tiny").path
    answer = twofold(*command, "--data", held, "--model", model)
    assert answer.status == 2
    assert answer.err.startswith("twofold: Another twofold") and "Traceback" not in answer.err


def test_a_home_is_found_where_no_shell_has_spelled_it_out(
    parsed, twofold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parsed("serve", "--data=~/chats")[0].data == tmp_path / "chats"
    monkeypatch.setenv("TWOFOLD_HOME", "~/mine")
    assert parsed("serve")[0].data == tmp_path / "mine"
    assert twofold("db", "path").out.strip() == str(tmp_path / "mine" / "twofold.db")


@pytest.mark.parametrize(
    "command",
    [
        ("versions", "list"),
        ("versions", "rollback", 0),
        ("versions", "export", "--merged", "never"),
        ("export",),
        ("backup",),
        ("phases",),
        ("refusals", "--model"),
    ],
)
def test_who_only_reads_makes_no_folder_of_a_mistyped_name(twofold, tmp_path: Path, command):
    mistyped = tmp_path / "chtas"
    if "--model" in command:
        command = (*command, write_tiny_model(tmp_path / "tiny").path)
    answer = twofold(*command, "--data", mistyped)
    assert answer.status == 2 and str(mistyped) in answer.err
    assert not mistyped.exists()


def test_a_name_that_no_folder_can_have_is_told(twofold, tmp_path: Path):
    for command in (("serve", "--no-open"), ("export",), ("env",)):
        answer = twofold(*command, "--data", tmp_path / ("n" * 300))
        assert (answer.status, answer.err.count("\n")) == ((0, 0) if "env" in command else (2, 1))


def test_an_unwritable_folder_is_told(twofold, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    answer = twofold("serve", "--no-open", "--data", tmp_path / "file" / "data")
    assert answer.status == 2 and "cannot be written" in answer.err


def test_a_taken_port_is_told(twofold):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = twofold("serve", "--demo", "--no-open", "--port", taken.getsockname()[1])
    assert answer.status == 2 and "is taken" in answer.err and "--port" in answer.err


class Denied(socket.socket):
    """As a port below 1024 is to most people."""

    def bind(self, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_port_that_cannot_be_had_is_told_before_the_model_loads(
    twofold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "resolve_model", lambda *_, **__: pytest.fail("it was loaded"))
    serve = ("serve", "--no-open", "--data", tmp_path, "--port")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = twofold(*serve, taken.getsockname()[1])
    assert answer.status == 2 and "is taken" in answer.err
    monkeypatch.setattr(port.socket, "socket", Denied)
    answer = twofold(*serve, 80)
    assert answer.status == 2 and "Port 80 is not open to you" in answer.err
    assert "another port with --port" in answer.err


# --- data -----------------------------------------------------------------------------------------


def test_an_export_goes_into_another_folder_and_comes_out_the_same(
    twofold, learned: Path, tmp_path: Path
):
    printed = twofold("export", "--data", learned).out
    rows = [json.loads(line) for line in printed.splitlines()]
    assert rows and all({"prompt", "chosen", "rejected"} <= row.keys() for row in rows)
    file = tmp_path / "picks.jsonl"
    told = twofold("export", "--data", learned, "--out", file)
    assert file.read_text() == printed and f"{len(rows)} rows" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["picks.jsonl"]

    again = twofold("import", file, "--data", learned, "--dry-run", "--json")
    assert again.status == 0
    assert json.loads(again.out) == {
        "new": 0,
        "known": len(rows),
        "bad": 0,
        "imported": 0,
        "failed": 0,
    }
    other = tmp_path / "other"
    model = learned.parents[1] / "tiny"
    answer = twofold("import", file, "--data", other, "--model", model)
    assert answer.out.strip() == f"{len(rows)} imported"
    assert twofold("export", "--data", other).out == printed
    assert twofold("learn", "--once", "--data", other, "--model", model).status == 0
    with Store(DataFolder(other).database) as store:
        report = PolicyRegistry(store, DataFolder(other).rounds).rounds_log()[0]
        may_teach = [one.id for one in FeedbackReader(store).preferences() if one.chosen]
    assert list(report.preference_ids) == may_teach
    assert report.metrics["lesson_lift"] > 0, "what was imported can be learned from"


def test_an_export_is_filtered_and_says_what_it_cannot_do(twofold, learned: Path, tmp_path: Path):
    all_rows = twofold("export", "--data", learned, "--format", "jsonl").out.splitlines()
    first = twofold("export", "--data", learned, "--choice", "first").out.splitlines()
    second = twofold("export", "--data", learned, "--choice", "second").out.splitlines()
    assert len(first) + len(second) == len(all_rows)
    assert twofold("export", "--data", learned, "--since", "2100-01-01").out == ""
    assert (
        twofold("export", "--data", learned, "--until", "9999-12-31").out
        == twofold("export", "--data", learned).out
    ), "a last day after which there is none"
    for args, sentence in (
        (("--choice", "left"), "left is no choice"),
        (("--since", "tomorrow"), "tomorrow is no day"),
        (("--format", "parquet"), "name a file with --out"),
        (("--out", tmp_path / "none" / "x.jsonl"), "cannot be written"),
        (("--out", "/etc/passwd/x"), "cannot be written"),
        (("--out", tmp_path / ("n" * 300)), "cannot be written"),
        (("--out", "."), "is a folder"),
        (("--out", ""), "is a folder"),
        (("--data", tmp_path / "empty"), "no twofold database"),
    ):
        answer = twofold("export", "--data", learned, *args)
        assert answer.status == 2 and sentence in answer.err


def test_an_import_waits_for_the_folder_to_be_free(twofold, tmp_path: Path):
    file = tmp_path / "picks.jsonl"
    file.write_text("{}\n")
    with DataFolder(tmp_path / "data").claim():
        answer = twofold("import", file, "--data", tmp_path / "data")
    assert answer.status == 2 and "is using" in answer.err


def test_an_import_of_which_nothing_could_be_used_ends_with_status_2(twofold, tmp_path: Path):
    file, model = tmp_path / "picks.jsonl", write_tiny_model(tmp_path / "tiny").path
    good = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    file.write_text("{}\n")
    there = ("import", file, "--data", tmp_path / "data", "--model", model)
    answer = twofold(*there, "--dry-run")
    assert answer.status == 2 and "line 1: there is no chosen" in answer.err
    answer = twofold(*there, "--json")
    assert answer.status == 2 and json.loads(answer.out)["bad"] == 1
    file.write_text(json.dumps(good | {"prompt": "x" * 9000}))
    answer = twofold(*there)
    assert (answer.status, answer.out) == (2, "0 imported, 1 failed\n")
    file.write_text("{}\n" + json.dumps(good))
    answer = twofold(*there)
    assert (answer.status, answer.out) == (0, "1 imported\n")


def test_a_backup_is_printed_and_opens_by_itself(twofold, learned: Path, tmp_path: Path):
    made = Path(twofold("backup", "--data", learned, "--to", tmp_path / "safe").out.strip())
    assert made.parent == tmp_path / "safe"
    restored = tmp_path / "restored"
    restored.mkdir()
    made.rename(restored / "twofold.db")
    assert twofold("export", "--data", restored).out == twofold("export", "--data", learned).out
    assert twofold("backup", "--data", tmp_path / "nothing").status == 2


@pytest.mark.parametrize(("flag", "sentence"), [("device", "is no device"), ("dtype", "no type")])
def test_a_device_or_a_type_that_there_is_not_is_told(
    twofold, tmp_path: Path, flag: str, sentence: str
):
    model = write_tiny_model(tmp_path / "tiny").path
    there = ("--data", tmp_path / "data", "--model", model)
    answer = twofold("chat", f"--{flag}", "foo", *there)
    assert answer.status == 2 and sentence in answer.err
    assert f"--{flag} takes auto, " in answer.err


def test_an_unknown_model_is_told(twofold, tmp_path: Path):
    answer = twofold("serve", "--no-open", "--data", tmp_path, "--model", "somebody/nothing")
    assert answer.status == 2 and "leave --model out" in answer.err


@pytest.mark.parametrize(
    "command", [("serve", "--no-open"), ("learn", "--once"), ("chat",), ("refusals",)]
)
def test_a_folder_of_another_model_is_told_and_left_alone(twofold, tmp_path: Path, command):
    write_files(tmp_path)
    simulated(tmp_path, tiny(tmp_path), "out", turns=2)
    data, other = tmp_path / "out" / "data", write_tiny_model(tmp_path / "other").path
    weights = load_file(other / "model.safetensors")
    save_file({n: w + 1 for n, w in weights.items()}, other / "model.safetensors", {"format": "pt"})
    before = (data / "twofold.db").read_bytes()
    answer = twofold(*command, "--data", data, "--model", other)
    assert answer.status == 2
    assert "was made with tiny" in answer.err and "--data FOLDER" in answer.err
    assert "Settings page" not in answer.err
    if command in (("serve", "--no-open"), ("chat",)):  # who says where the model was named
        write_saved(data / "settings.json", SavedSettings(model=str(other)))
        answer = twofold(*command, "--data", data)
        assert answer.status == 2
        assert "take it out of" in answer.err and "--model built-in" in answer.err
    if command == ("refusals",):
        assert (data / "twofold.db").read_bytes() == before, "it only reads"


def test_a_broken_adapter_is_told_and_the_live_version_stays(twofold, tmp_path: Path):
    write_files(tmp_path)
    simulated(tmp_path, tiny(tmp_path), "out")
    data = tmp_path / "out" / "data"
    rows = json.loads(twofold("versions", "list", "--json", "--data", data).out)
    newest = rows[-1]["version"]
    assert twofold("versions", "rollback", 0, "--data", data).status == 0
    for weights in data.glob(f"rounds/*{newest}/adapter/adapter_model.safetensors"):
        weights.write_bytes(b"broken")
    answer = twofold("versions", "rollback", newest, "--data", data)
    assert answer.status == 2 and answer.err.startswith("twofold: ")
    assert json.loads(twofold("versions", "list", "--json", "--data", data).out)[0]["live"]


def test_a_fault_of_our_own_keeps_its_traceback():
    def broken(settings: Settings, options: ServeOptions) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(broken, ["serve"])
