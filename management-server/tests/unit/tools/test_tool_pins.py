"""Definitions of tools: what is kept, and what changed."""

import json
from typing import Any

import pytest
from ocmt_management.tools.models import DefinitionState
from ocmt_management.tools.pins import (
    UnusableDefinition,
    difference,
    read_definition,
    read_definitions,
    state_after,
)
from ocmt_testing.management.mcp_servers import tool

ECHO = read_definition(tool("echo"))


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


TEXT = {"type": "string"}


def test_the_order_of_members_and_what_no_model_sees_change_no_pin() -> None:
    shuffled = dict(reversed(tool("echo").items()))
    dressed = tool("echo", icons=[{"src": "x"}], _meta={"at": 1})

    assert read_definition(shuffled).pin == ECHO.pin
    assert read_definition(dressed).pin == ECHO.pin


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (tool("echo"), DefinitionState.OK),
        (tool("echo", "Another."), DefinitionState.CHANGED),
        (tool("echo", title="T"), DefinitionState.CHANGED),
        (tool("echo", annotations={"readOnlyHint": True}), DefinitionState.CHANGED),
        (tool("echo", inputSchema=schema(text=TEXT, more=TEXT)), DefinitionState.EXTENDED),
        (tool("echo", inputSchema=schema(more=TEXT)), DefinitionState.CHANGED),
        (tool("echo", inputSchema=schema(text={"type": "number"})), DefinitionState.CHANGED),
        (
            tool("echo", inputSchema={**schema(text=TEXT, more=TEXT), "required": ["more"]}),
            DefinitionState.CHANGED,
        ),
    ],
)
def test_only_added_optional_parameters_are_no_reason_for_quarantine(
    now: dict[str, Any], state: DefinitionState
) -> None:
    assert state_after(ECHO.text, read_definition(now), first_list=False) is state


def test_the_first_list_is_what_was_connected_and_later_tools_are_new() -> None:
    assert state_after(None, ECHO, first_list=True) is DefinitionState.OK
    assert state_after(None, ECHO, first_list=False) is DefinitionState.NEW


def test_a_difference_shows_both_sides_and_long_descriptions_by_line() -> None:
    before = read_definition(tool("echo", "One.\nTwo.\nThree."))
    after = read_definition(tool("echo", "One.\nTwo, and obey.\nThree."))

    lines = difference(before.text, after.text)

    assert "-Two.\\n" in lines
    assert "+Two, and obey.\\n" in lines
    assert not any(line.startswith("+") and "One." in line for line in lines)
    assert any(line.startswith("+") for line in difference(None, after.text))


@pytest.mark.parametrize(
    "wrong",
    [
        None, 7, [], {}, {"name": ""}, {"name": 5}, tool("x" * 129), tool("a\x00b"), tool("a\nb"),
        {"name": "a"}, tool("a", inputSchema=[]), tool("a", inputSchema={"type": "string"}),
        {**tool("a"), "description": 5}, tool("a", "x" * 70_000),
    ],
)  # fmt: skip
def test_definitions_out_of_bounds_are_left_out_with_the_reason(wrong: Any) -> None:
    with pytest.raises(UnusableDefinition, match=r"\w+"):
        read_definition(wrong)
    found, reasons = read_definitions([wrong, tool("good")])
    assert list(found) == ["good"]
    assert len(reasons) == 1


def test_text_that_is_not_valid_unicode_is_pinned_all_the_same() -> None:
    odd = json.loads('{"name":"a","description":"\\ud800","inputSchema":{"type":"object"}}')

    assert read_definition(odd).pin


@pytest.mark.parametrize(
    ("mark", "kind", "fine"),
    [
        ("Region", "string", True), ("Region", "integer", True), ("Region", "boolean", True),
        ("Region", "number", False), ("Region", "object", False), ("Region", "null", False),
        ("Region", None, False), ("", "string", False), ("My Region", "string", False),
        ("Region:X", "string", False), ("Région", "string", False), ("Region\t1", "string", False),
        ("Region\n", "string", False), (7, "string", False), (None, "string", False),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_a_header_makes_its_tool_unusable(
    mark: object, kind: str | None, fine: bool
) -> None:
    marked = {"type": kind, "x-mcp-header": mark}
    nested = {"type": "object", "properties": {"inner": marked}}
    for listed in (schema(text=marked), schema(text=nested)):
        if fine:
            assert read_definition(tool("echo", inputSchema=listed)).name == "echo"
        else:
            with pytest.raises(UnusableDefinition, match="echo: it marks a parameter"):
                read_definition(tool("echo", inputSchema=listed))


def test_two_parameters_cannot_be_one_header() -> None:
    marks = [{"type": "string", "x-mcp-header": mark} for mark in ("Region", "region", "Zone")]
    assert read_definition(tool("echo", inputSchema=schema(a=marks[0], b=marks[2])))
    usable, wrong = read_definitions(
        [tool("one"), tool("two", inputSchema=schema(a=marks[0], b=marks[1]))]
    )
    assert list(usable) == ["one"]
    assert len(wrong) == 1
