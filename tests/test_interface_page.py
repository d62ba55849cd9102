"""docs/interface.md names tests and pictures that are there, and every feature that is a must."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "interface.md").read_text(encoding="utf-8")
FOLDERS = (ROOT, ROOT / "tests", ROOT / "tests" / "e2e")
"""Where a file may be named from; most of the tests are those of the page."""
NAMED = re.compile(r"`(?:(?P<file>[\w/]*test_\w+\.py)(?:::)?)?(?P<test>test_\w+)?`")
PICTURE = re.compile(r"`docs/images/([\w*-]+\.png)`")
MUST = {*range(1, 8), *range(9, 12), *range(14, 23), *range(25, 29), 30, 33, *range(35, 38)}
MUST |= {39, *range(41, 49), *range(53, 61), 62, 65, 69}
SHOULD = {8, 12, 13, 23, 24, 29, 31, 32, 34, 40, 49, 50, 51, 52, 61, 63, 64, 66, 67, 70}
"""Rows of the feature table that the page was built against."""


def named():
    """Files that the page names, each with a test of it or none.

    A test without a file is one of the file before it, up to the end of the row or paragraph.
    """
    for part in re.split(r"\n\n|\n(?=\|)|\n(?=- )", PAGE):
        file = None
        for found in NAMED.finditer(part):
            file = found["file"] or file
            if file or found["test"]:
                yield file, found["test"]


def path_of(file):
    return next((folder / file for folder in FOLDERS if (folder / file).is_file()), None)


def known_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def rows():
    """Number of each feature that a row of the first three tables shows, and what shows it."""
    features = PAGE.partition("## What the page promises")[0]
    for line in features.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and re.fullmatch(r"\d+(, \d+)*", cells[0]):
            for number in cells[0].split(", "):
                yield int(number), cells[-1]


@pytest.mark.parametrize(("file", "test"), sorted(set(named()), key=str))
def test_what_the_page_names_is_there(file, test):
    assert file is not None, f"{test} stands without its file"
    path = path_of(file)
    assert path is not None, file
    assert test is None or test in known_in(path)


def test_pictures_are_there():
    found = PICTURE.findall(PAGE)
    assert found
    assert [one for one in found if not list((ROOT / "docs" / "images").glob(one))] == []


def test_every_must_has_a_row_and_most_of_what_should_be():
    told = dict(rows())
    assert MUST - told.keys() == set()
    assert len(SHOULD & told.keys()) >= 15
    assert all(told.values())
