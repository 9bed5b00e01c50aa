"""docs/hibernation.md explains everything that an operator can see of hibernation."""

from enum import StrEnum
from pathlib import Path

import pytest
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.records.metrics import Metrics
from ocmt_agent.settings import AgentSettings
from ocmt_common.agent_api import (
    Actor,
    AgentPolicy,
    HibernationCounts,
    HibernationState,
    MemoryFigures,
    MemoryHealth,
    PausedMemory,
)
from pydantic import BaseModel

PAGE = (Path(__file__).parents[2] / "docs" / "hibernation.md").read_text(encoding="utf-8")


def explained(word: str) -> bool:
    return f"`{word}`" in PAGE


@pytest.mark.parametrize("words", [HibernationState, PausedMemory, Actor])
def test_every_state_and_everybody_who_changes_one_is_explained(words: type[StrEnum]) -> None:
    assert [str(word) for word in words if not explained(str(word))] == []


@pytest.mark.parametrize("fields", [AgentPolicy, MemoryFigures, MemoryHealth])
def test_every_field_of_policy_and_memory_is_explained(fields: type[BaseModel]) -> None:
    names = [field.alias or name for name, field in fields.model_fields.items()]
    assert [name for name in names if not explained(name)] == []


def test_every_reason_for_an_event_is_explained() -> None:
    causes = [value for value in vars(reasons).values() if isinstance(value, TransitionReason)]
    causes += [*reasons.SLEEPS.values(), *reasons.WAKES.values()]
    assert len(causes) > 8
    untold = {c.why for c in causes if c.who is not Actor.RUNTIME and not explained(c.why)}
    assert untold == set()


def test_every_time_of_hibernation_is_explained() -> None:
    names = {"PAUSE_AFTER_MS", "STOP_AFTER_MS", "HIBERNATION_CHECK_INTERVAL", "WAKE_TIMEOUT_MS"}
    assert names <= set(AgentSettings.names())
    assert {name for name in names if not explained(name)} == set()


def test_every_metric_is_explained() -> None:
    shown = Metrics(HibernationCounts).text().decode()
    names = {line.split()[2] for line in shown.splitlines() if line.startswith("# TYPE")}
    ours = {name for name in names if not name.endswith("_created")}
    assert ours
    assert {name for name in ours if not explained(name)} == set()
