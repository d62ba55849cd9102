"""Who may speak SQL, and who may import whom: read from the source, without running it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SQL = {"sqlite3", "pysqlite3", "sqlite_utils", "apsw"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in (ROOT / package).rglob("*.py")]


def top(module: str) -> str:
    return module.partition(".")[0]


def test_only_storage_speaks_sql() -> None:
    """Two SQLite libraries, or a stray open file, break each other's locks on the database."""
    others = [*sources("chat_app", "learner", "benchmarks"), *ROOT.glob("*.py")]
    guilty = [path.name for path in others if SQL & set(map(top, imports(path)))]
    assert guilty == []


def test_inside_storage_one_module_chooses_the_sqlite_library() -> None:
    choosing = {
        path.name
        for path in sources("storage")
        for module in imports(path)
        if top(module) in {"sqlite3", "pysqlite3", "apsw"} or module == "sqlite_utils.utils.sqlite3"
    }
    assert choosing == {"sqlite.py"}


def test_storage_knows_neither_the_learner_nor_the_page_nor_tensors() -> None:
    above = {"learner", "chat_app", "app", "torch", "numpy", "transformers", "gradio"}
    guilty = [path.name for path in sources("storage") if above & set(map(top, imports(path)))]
    assert guilty == []


def test_records_are_plain() -> None:
    used = set(imports(ROOT / "storage" / "records.py"))
    assert {top(module) for module in used if top(module) != "storage"} == {
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "pathlib",
        "typing",
    }
    assert {module for module in used if top(module) == "storage"} == {"storage.checks.check_whole"}
    assert not list(imports(ROOT / "storage" / "checks.py"))


def test_the_schema_travels_with_the_package() -> None:
    from storage import migrations

    steps = sorted(path.name for path in (ROOT / "storage" / "schema").iterdir())
    assert steps == [f"m{number:03d}.sql" for number in range(1, migrations.SCHEMA_VERSION + 1)]
