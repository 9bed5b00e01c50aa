import json

import pytest
from ocmt_sync.errors import SyncError
from ocmt_sync.history import Commit
from ocmt_sync.policy import default_policy_bytes, parse_policy
from ocmt_sync.security import (
    Advisories,
    Owners,
    SecuritySources,
    message_evidence,
    parse_advisories,
)

POLICY = parse_policy(default_policy_bytes(), source="the default policy")
SHA = "a" * 40


def commit(
    *, subject: str = "x", files: tuple[str, ...] = (), numbers: tuple[str, ...] = ()
) -> Commit:
    return Commit(SHA, (), 0, 0, "A", subject, files, False, (), (), "", numbers, ())


@pytest.mark.parametrize(
    "subject",
    [
        "fix: security of the gateway",
        "Fix SSRF in media fetch",
        "harden exec approvals",
        "plug token leak in logs",
        "CVE-2026-1234: escape",
        "fix path traversal in skills",
        "redact the api key in errors",
    ],
)
def test_subjects_about_security_are_recognized(subject: str) -> None:
    assert message_evidence(POLICY, subject, "")


@pytest.mark.parametrize(
    "subject", ["fix: typo", "chore: source maps", "tokenizer: faster", "docs: doses of tea"]
)
def test_other_subjects_are_not(subject: str) -> None:
    assert message_evidence(POLICY, subject, "") == ()


def test_a_trailer_is_evidence_and_a_mention_in_the_body_is_not() -> None:
    assert message_evidence(POLICY, "x", "Why.\n\nCVE: CVE-2026-1\n") == (
        "trailer: CVE: CVE-2026-1",
    )
    assert message_evidence(POLICY, "x", "This is not about security.") == ()


def test_the_last_matching_line_of_codeowners_decides() -> None:
    owners = Owners(
        "# comment\n/src/ @acme/secops\n/src/open/ @acme/all # theirs\n"
        "/src/own\\ er/ @acme/secops\n",
        ["@ACME/secops"],
    )
    assert owners.security_owner("src/a") == "@acme/secops"
    assert owners.security_owner("src/open/a") is None
    assert owners.security_owner("src/own er/a") == "@acme/secops"
    assert owners.security_owner("a") is None


OSV = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "references": [
        {"type": "FIX", "url": f"https://github.com/o/r/commit/{SHA}"},
        {"type": "WEB", "url": "https://github.com/o/r/pull/77"},
    ],
    "affected": [
        {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}, {"fixed": "b" * 40}]}]}
    ],
}
GHSA = {"ghsa_id": "GHSA-dddd", "references": [f"https://github.com/o/r/commit/{'c' * 40}"]}


def test_advisories_are_read_as_osv_ghsa_lists_lines_and_vulns() -> None:
    expected = {SHA, "b" * 40}
    for data in (OSV, [OSV], {"vulns": [OSV]}):
        found = parse_advisories(json.dumps(data).encode(), source="f")
        assert set(found.commits) == expected
        assert found.pulls == {"#77": "GHSA-aaaa-bbbb-cccc"}
    lines = b"\n".join(json.dumps(one).encode() for one in (OSV, GHSA))
    assert set(parse_advisories(lines, source="f").commits) == {*expected, "c" * 40}
    withdrawn = parse_advisories(json.dumps({**OSV, "withdrawn": "2026"}).encode(), source="f")
    assert withdrawn == Advisories({}, {})


def test_an_empty_file_has_no_advisories() -> None:
    assert parse_advisories(b"", source="f") == Advisories({}, {})


@pytest.mark.parametrize("data", [b"nope", b"[1]", b'"x"'])
def test_what_is_no_advisory_is_refused(data: bytes) -> None:
    with pytest.raises(SyncError):
        parse_advisories(data, source="f")


def test_the_three_sources_add_up_each_with_its_evidence() -> None:
    security_sources = SecuritySources(
        Owners("/src/auth/ @acme/secops\n", ["@acme/secops"]),
        parse_advisories(json.dumps(OSV).encode(), source="f"),
    )
    found = security_sources.evidence(
        commit(subject="fix it (#77)", files=("README.md", "src/auth/a"), numbers=("#77",))
    )
    assert found == [
        "path: src/auth/a is owned by @acme/secops",
        "advisory: GHSA-aaaa-bbbb-cccc names this commit",
        "advisory: GHSA-aaaa-bbbb-cccc names #77",
    ]
    assert SecuritySources(Owners("", []), Advisories()).evidence(commit()) == []


@pytest.mark.parametrize(
    "affected",
    [3, [3], [{"ranges": None}], [{"ranges": [3]}], [{"ranges": [{"type": "GIT", "events": [3]}]}]],
)
def test_an_advisory_of_an_unexpected_shape_names_nothing(affected: object) -> None:
    data = json.dumps([{"id": "x", "affected": affected}]).encode()
    assert parse_advisories(data, source="f") == Advisories({}, {})


def test_a_codeowners_line_that_is_no_pattern_of_githubs_breaks_nothing() -> None:
    owners = Owners("/src/[z-a].ts @acme/secops\n/src/x/ @acme/secops\n", ["@acme/secops"])
    assert owners.security_owner("src/x/y.ts") == "@acme/secops"
    assert owners.security_owner("src/z.ts") is None
