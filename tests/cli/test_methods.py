"""What is said of methods, and that the documentation says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_blindsound import methods

DOCS = Path(__file__).parents[2] / "docs" / "methods.md"


def table(text):
    """Rows of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


@pytest.mark.parametrize("name", methods.available())
def test_a_method_is_listed_with_what_it_says_of_itself(cli, name):
    method = methods.find(name)
    told = cli("methods").out
    for text in (method.title, method.assumes, method.cost, method.limits):
        assert text in told
    [entry] = [
        one
        for one in json.loads(cli("methods", "--json").out)["methods"]
        if one["name"] == name
    ]
    for key in ("title", "assumes", "cost", "limits", "reference"):
        assert entry[key] == getattr(method, key)
    assert entry["adjustable"] == list(method.Config.adjustable)
    stages = method(method.Config()).stages
    expected = [stage.name for stage in stages] if len(stages) > 1 else []
    assert entry["stages"] == expected
    for words in (*expected, *entry["adjustable"]):
        assert words in told


def test_the_table_has_a_row_for_each_method(cli):
    rows = table(cli("methods", "--markdown").out)
    assert {len(row) for row in rows} == {6}
    for row, method in zip(rows, methods.available().values(), strict=True):
        assert row[0].startswith(f"{method.title} (`{method.name}`")
        assert row[1] == method.assumes
        assert method.cost in row[2]
        assert method.limits in row[3]
        assert row[5] == ", ".join(f"`{name}`" for name in method.Config.presets)


def test_the_documentation_has_the_table_as_it_is_now(cli):
    """If not: blindsound methods --markdown, and put that into docs/methods.md."""
    assert cli("methods", "--markdown").out in DOCS.read_text()
