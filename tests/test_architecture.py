"""Who may import whom: the contracts in pyproject.toml hold."""

from pathlib import Path

from importlinter.cli import lint_imports


def test_every_import_points_the_right_way(monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parents[1])
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out
