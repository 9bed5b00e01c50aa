"""The two files that people exchange: the plan and the ledger."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_sync.errors import SyncError
from ocmt_sync.ledger import Act, Entry, Ledger, ledger_file, parse_entries
from ocmt_sync.planfile import Line, Plan, parse, render
from ocmt_sync.publish import same_place

SHA = "0123456789" * 4
TEXTS = st.text(max_size=30)


@given(subject=TEXTS, why=TEXTS, conflicts=st.lists(TEXTS, max_size=2), security=st.booleans())
def test_a_plan_reads_back_as_it_was_written(
    subject: str, why: str, conflicts: list[str], security: bool
) -> None:
    line = Line("pick", SHA, "always", subject, why, "", security, SHA, tuple(conflicts), (SHA,))
    text = render(Plan("pick", SHA, SHA, "", "", SHA, lines=(line,)), name="p.toml")
    (again,) = parse(text, source="p.toml").lines
    assert render(Plan("pick", SHA, SHA, "", "", SHA, lines=(again,)), name="p.toml") == text
    assert (again.do, again.commit, again.security, again.tree) == ("pick", SHA, security, SHA)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'{{do = "pick", commit = "{SHA[:12]}"}}', "no full `commit`"),
        (f'{{do = "pik", commit = "{SHA}"}}', "'pik'"),
        (f'{{do = "skip", commit = "{SHA}"}}', "reason"),
        (f'{{do = "defer", commit = "{SHA}", until = "soon"}}', "until"),
        (f'{{do = "hold", commit = "{SHA}"}}, {{do = "hold", commit = "{SHA}"}}', "twice"),
    ],
)
def test_a_mistake_in_an_edited_plan_is_named(line: str, said: str) -> None:
    text = f'version = 1\nstrategy = "pick"\nbase = "{SHA}"\nupstream = "{SHA}"\n'
    with pytest.raises(SyncError, match=said):
        parse(f"{text}commits = [{line}]", source="p.toml")


def entry(act: Act, at: str, *, until: str = "", by: str = "Op") -> Entry:
    return Entry(SHA, act, "r", until, "s", patch_id="", at=at, by=by)


def test_the_newest_decision_counts_however_the_files_are_merged() -> None:
    old = entry("skipped", "2026-01-01T00:00:00.000000Z")
    new = entry("reopened", "2026-01-01T00:00:00.000001Z")
    for entries in ([old, new], [new, old], [old, old, new]):
        ledger = Ledger(entries)
        assert ledger.by_commit[SHA] == new
        assert len(ledger.entries) == 2


def test_a_deferred_commit_is_open_again_on_its_day() -> None:
    deferred = entry("deferred", "2026-01-01T00:00:00Z", until="2026-02-01")
    assert not deferred.is_open(date(2026, 1, 31))
    assert deferred.is_open(date(2026, 2, 1))


def test_a_ledger_file_reads_back_and_other_decisions_get_other_names() -> None:
    one = [entry("skipped", "2026-01-01T00:00:00Z")]
    two = [entry("skipped", "2026-01-01T00:00:00Z", by="Another")]
    name, body = ledger_file(one, one[0].at)
    assert parse_entries(body, source=name) == one
    assert ledger_file(two, one[0].at)[0] != name


@pytest.mark.parametrize(
    "line",
    [b"x", b"{}", b'{"act": "eaten", "commit": "a", "at": "2026-01-01"}', b"[]",
     b'{"act": "deferred", "commit": "a", "at": "2026-01-01", "until": "never"}'],
)  # fmt: skip
def test_a_damaged_ledger_is_an_error_since_it_could_hide_a_decision(line: bytes) -> None:
    with pytest.raises(SyncError, match="Line 1"):
        parse_entries(line, source="f")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://github.com/o/r.git", "git@github.com:o/r", True),
        ("ssh://git@github.com/O/R", "https://user:pw@github.com/o/r/", True),
        ("https://github.com/o/r", "https://github.com/o/r2", False),
        ("/srv/git/r.git", "/srv/git/r", True),
        ("DISABLED", "https://github.com/o/r", False),
    ],
)
def test_urls_of_one_repository_are_recognized(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) is same
