import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_cli.capacity.command import assumptions, table
from ocmt_cli.capacity.figures import MEASURED, RECORDED, figures
from ocmt_cli.capacity.table import BUSY_TO_CALM, GIB, SEED_SIZES, row, users


def test_the_table_has_the_seeds_rows_and_columns() -> None:
    lines = table([row(size, figures=RECORDED, shares=BUSY_TO_CALM) for size in SEED_SIZES])
    assert lines == [
        "| RAM    | Always-on users | With hibernation | Swap for them |",
        "| ------ | --------------- | ---------------- | ------------- |",
        "| 4 GB   | ~3 users        | ~37-59 users     | 57.3 GB       |",
        "| 8 GB   | ~7 users        | ~83-131 users    | 127.1 GB      |",
        "| 16 GB  | ~16 users       | ~175-275 users   | 266.9 GB      |",
    ]


def test_sleeping_agents_bound_the_capacity_if_none_is_awake_else_awake_ones_do() -> None:
    assert users(4000, RECORDED, 0.0) == 166
    assert users(3000, RECORDED, 1.0) == 8


def test_a_machine_that_is_too_small_holds_no_agent() -> None:
    assert row(GIB // 2, figures=RECORDED, shares=BUSY_TO_CALM).most == 0


@given(
    ram=st.integers(GIB, 512 * GIB),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=5),
)
def test_the_promised_number_fits_and_more_activity_never_means_more_agents(
    ram: int, shares: list[float]
) -> None:
    held = [row(ram, figures=RECORDED, shares=(share, share)).most for share in sorted(shares)]
    assert all(calmer >= busier for calmer, busier in pairwise(held))
    for share, count in zip(sorted(shares), held, strict=True):
        taken = count * (share * RECORDED.woken_mb + (1 - share) * RECORDED.asleep_mb)
        assert taken * 1e6 <= ram


def test_what_was_measured_here_comes_before_what_was_recorded(tmp_path: Path) -> None:
    assert figures(tmp_path) is RECORDED
    (tmp_path / "bench").mkdir()
    found = asdict(RECORDED) | {"origin": "measured here, 2026-11-23", "asleep_mb": 30}
    (tmp_path / MEASURED).write_text(json.dumps({"figures": found}))
    assert figures(tmp_path) == replace(RECORDED, origin="measured here, 2026-11-23", asleep_mb=30)
    said = " ".join(assumptions(figures(tmp_path), (0.1, 0.1)))
    assert "measured here, 2026-11-23" in said
    assert "10% of the users" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"figures": {"awake_mb": 1}}'])
def test_a_damaged_measurement_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / MEASURED).write_text(text)
    with pytest.raises(ValueError, match="Measure again"):
        figures(tmp_path)
