from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_sync.doctor import Finding, rule_findings
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.globs import FirstMatch, codeowners_regex, glob_regex
from ocmt_sync.policy import (
    CLASSES,
    FOLD,
    CommitClass,
    Policy,
    default_policy_bytes,
    fold,
    load_policy,
    parse_policy,
)

DEFAULT = parse_policy(default_policy_bytes(), source="the default policy")


def policy(*rules: tuple[str, list[str]], head: str = "version = 1\n") -> Policy:
    body = "".join(f'[[rule]]\nclass = "{cls}"\npaths = {paths}\n' for cls, paths in rules)
    return parse_policy((head + body).encode(), source="sync.toml")


def mistake(text: str) -> str:
    with pytest.raises(SyncError) as error:
        parse_policy(text.encode(), source="sync.toml")
    assert error.value.exit_code == Exit.INPUT
    return str(error.value)


@pytest.mark.parametrize(
    ("path", "cls"),
    [
        ("src/infra/net.ts", "always"),
        ("src/cli/run/deep.ts", "always"),
        ("packages/sdk/package.json", "always"),
        ("src/channels/telegram.ts", "evaluate"),
        ("extensions/matrix/index.ts", "evaluate"),
        ("apps/ios/App.swift", "evaluate"),
        ("docs/start.md", "skip"),
        (".github/workflows/ci.yml", "careful"),
        ("tsconfig.json", "careful"),
        ("CHANGELOG.md", "neutral"),
        ("brand/new/place.ts", "unknown"),
    ],
)
def test_the_shipped_policy_keeps_the_seeds_three_lists(path: str, cls: str) -> None:
    assert DEFAULT.class_of_file(path) == cls


@pytest.mark.parametrize(
    ("files", "cls"),
    [
        (["src/infra/a.ts", "CHANGELOG.md"], "always"),
        (["src/infra/a.ts", "docs/a.md"], "always"),
        (["src/infra/a.ts", "extensions/x/a.ts"], "evaluate"),
        (["extensions/x/a.ts", "package.json"], "careful"),
        (["src/infra/a.ts", "brand/new.ts"], "unknown"),
        (["docs/a.md", "CHANGELOG.md"], "skip"),
        (["CHANGELOG.md"], "neutral"),
        ([], "neutral"),
    ],
)
def test_a_commit_is_as_demanding_as_its_most_demanding_file(files: list[str], cls: str) -> None:
    assert DEFAULT.class_of(files) == cls


@given(st.lists(st.sampled_from(FOLD), min_size=1))
def test_one_file_without_a_rule_is_never_hidden_and_order_does_not_matter(
    classes: list[CommitClass],
) -> None:
    assert fold(classes) == fold(sorted(classes)) == fold([*classes, *classes])
    assert (fold(classes) == "unknown") == ("unknown" in classes)


def test_the_first_glob_that_matches_decides() -> None:
    found = policy(("skip", ["src/gen/"]), ("always", ["src/"]), ("careful", ["*"]))
    assert found.class_of_file("src/gen/a/b") == "skip"
    assert found.class_of_file("src/a") == "always"
    assert found.class_of_file("a") == "careful"
    assert found.class_of_file("b/a") == "unknown"


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("src/", ["src/a", "src/b/c"], ["src", "xsrc/a"]),
        ("src/*.ts", ["src/a.ts"], ["src/a/b.ts", "src/a.tsx"]),
        ("src/**/test/*.ts", ["src/test/a.ts", "src/x/y/test/a.ts"], ["src/xtest/a.ts"]),
        ("**/x", ["x", "a/x", "a/b/x"], ["ax"]),
        ("a?[bc].md", ["axb.md"], ["a/b.md", "axd.md"]),
        ("a[!b]", ["ac"], ["ab"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_globs(glob: str, yes: list[str], no: list[str]) -> None:
    match = FirstMatch([glob_regex(glob)])
    assert [match(path) for path in yes] == [0] * len(yes)
    assert [match(path) for path in no] == [None] * len(no)


def test_a_name_with_a_newline_or_broken_utf8_is_classed_like_any_other() -> None:
    assert DEFAULT.class_of_file("src/infra/a\nb\udcff.ts") == "always"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["a", "a/b"], []),
        ("/docs/", ["docs/a", "docs/b/c"], ["x/docs/a", "docs"]),
        ("docs/*", ["docs/a"], ["docs/a/b"]),
        ("*.js", ["a.js", "x/a.js"], ["a.jsx"]),
        ("/src/config/**/*secret*.ts", ["src/config/a/mysecret.ts"], ["src/config/a/b.ts"]),
        ("apps", ["apps", "apps/x", "y/apps/x"], ["apps2"]),
    ],
)
def test_codeowners_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    match = FirstMatch([codeowners_regex(pattern)])
    assert [match(path) for path in yes] == [0] * len(yes)
    assert [match(path) for path in no] == [None] * len(no)


def test_every_mistake_is_named_at_once() -> None:
    text = """
    surprise = 1
    [upstream]
    remote = 3
    [security]
    keywords = ["("]
    [[rule]]
    class = "alwys"
    paths = ["a"]
    [[rule]]
    class = "skip"
    paths = ["/rooted", "b", "b"]
    """
    said = mistake(text)
    for part in ("version = 1", "surprise", "upstream.remote", "'('", "alwys", "/rooted", "twice"):
        assert part in said


@pytest.mark.parametrize("text", ["version = ", "\udcff".encode("utf-8", "surrogateescape")])
def test_what_is_no_toml_is_refused(text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(SyncError, match="not valid TOML"):
        parse_policy(data, source="sync.toml")


def test_a_name_that_git_would_take_for_an_option_is_refused() -> None:
    said = mistake('version = 1\n[upstream]\nremote = "--upload-pack=x"\n')
    assert "not a name that git allows" in said


def test_without_a_policy_of_its_own_a_fork_has_the_shipped_one(tmp_path: Path) -> None:
    assert load_policy(None, tmp_path).rules == DEFAULT.rules
    (tmp_path / "sync.toml").write_text('version = 1\n[[rule]]\nclass="skip"\npaths=["a"]\n')
    own = load_policy(None, tmp_path)
    assert [rule.pattern for rule in own.rules] == ["a"]
    assert own.sync_branch == "upstream-sync", "what is left out has its default"


def codes(found: Iterable[Finding]) -> list[str]:
    return [finding.code for finding in found]


def test_doctor_names_dead_rules_overlaps_and_files_without_a_rule() -> None:
    paths = ["src/a.ts", "src/b.md", "docs/c.md", "x/y"]
    assert codes(rule_findings(policy(("always", ["gone/"]), ("skip", ["**"])), paths)) == [
        "dead-rule"
    ]
    assert codes(rule_findings(policy(("always", ["**"]), ("skip", ["docs/"])), paths)) == [
        "dead-rule"
    ]
    crossing = policy(("neutral", ["**/*.md"]), ("always", ["src/"]), ("skip", ["docs/", "x/"]))
    assert "overlap" in codes(rule_findings(crossing, paths))
    assert codes(rule_findings(policy(("always", ["src/"])), paths)) == ["unclassed"]


def test_an_exception_within_a_wider_rule_is_no_overlap() -> None:
    found = policy(("skip", ["src/gen/"]), ("always", ["src/"]))
    assert rule_findings(found, ["src/gen/a", "src/b"]) == []


def test_the_shipped_policy_has_no_overlap_on_a_tree_like_upstreams() -> None:
    tree = [
        pattern.rstrip("/").replace("**/", "").replace("*", "x")
        + ("/file.ts" if pattern.endswith("/") else "")
        for pattern in (rule.pattern for rule in DEFAULT.rules)
    ]
    assert rule_findings(DEFAULT, tree) == []
    assert {rule.cls for rule in DEFAULT.rules} == set(CLASSES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[securty]\n", "unknown section `securty` (did you mean `security`?)"),
        ("[fork]\nbranhc = 'x'\n", "unknown key `fork.branhc` (did you mean `branch`?)"),
        ("[fork]\nledger = '../outside'\n", "`fork.ledger` = '../outside' is not a folder inside"),
        ("[fork]\nledger = '/root'\n", "is not a folder inside the fork"),
        ("[fork]\nledger = '.git/x'\n", "is not a folder inside the fork"),
        ("[fork]\nsync_branch = 'a..b'\n", "`fork.sync_branch` = 'a..b' is not a name that git"),
        ("[fork]\nsync_branch = 'main'\n", "sync needs a branch of its own"),
        ("[fork]\nbranch = ''\n", "`fork.branch` must be a text in quotes, not ''"),
        ("[test]\ncommands = 'npm test'\n", "`test.commands` must be a list of texts"),
        ("[security]\nkeywords = [3]\n", "`security.keywords` must be a list of texts"),
        ("[fetch]\nstale_after_h = 'soon'\n", "`fetch.stale_after_h` must be a number above 0"),
        ("[fetch]\nstale_after_h = nan\n", "`fetch.stale_after_h` must be a number above 0"),
        ("[[rule]]\nclass='skip'\npath=['docs/']\n", "(did you mean `paths`?)"),
        ("[[rule]]\nclass='alwys'\npaths=['docs/']\n", "(docs/): class 'alwys' is not one of"),
    ],
)
def test_each_mistake_names_its_key_and_the_cure(text: str, says: str) -> None:
    rule = "" if "[[rule]]" in text else "[[rule]]\nclass='skip'\npaths=['a']\n"
    assert says in mistake(f"version = 1\n{text}{rule}")


@pytest.mark.parametrize("rule", ["", "[rule]\nclass = 'skip'\npaths = ['a']\n"])
def test_a_policy_without_rules_is_told_how_they_are_written(rule: str) -> None:
    assert "[[rule]] (in double brackets" in mistake(f"version = 1\n{rule}")
