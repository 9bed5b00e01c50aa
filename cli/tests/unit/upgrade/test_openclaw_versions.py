from ocmt_cli.upgrade.agents import version_of_image
from ocmt_cli.upgrade.versions import between, changelog_sections
from ocmt_common.openclaw.versions import parse_version

PUBLISHED = ["2026.9.10", "2026.9.6", "2026.9.6-1", "2026.10.1-beta.2", "2026.10.1", "2026.8.30"]


def test_releases_come_in_the_order_of_their_dates_with_betas_before_and_patches_after() -> None:
    names = ["2026.9.6-1", "2026.10.1", "2026.9.6", "2026.10.1-beta.2", "2026.9.6-beta.11"]
    versions = {version: name for name in names if (version := parse_version(name)) is not None}
    assert [versions[version] for version in sorted(versions)] == [
        "2026.9.6-beta.11",
        "2026.9.6",
        "2026.9.6-1",
        "2026.10.1-beta.2",
        "2026.10.1",
    ]


def test_what_is_newer_leaves_betas_out() -> None:
    assert between(PUBLISHED, "2026.9.6", "2026.10.1") == ["2026.9.6-1", "2026.9.10", "2026.10.1"]
    assert between(PUBLISHED, "2026.10.1", "2026.10.1") == []
    assert between([*PUBLISHED, "nonsense"], "2026.9.10", "nonsense") == []


def test_a_changelog_gives_the_sections_asked_for() -> None:
    text = "# Changelog\n\n## 2026.10.1\n\n- new\n\n### Fixes\n- b\n\n## 2026.9.6\n- old\n"
    assert changelog_sections(text, ["2026.10.1", "2026.9.10"]) == {
        "2026.10.1": "- new\n\n### Fixes\n- b"
    }


def test_an_images_tag_is_its_version_and_a_foreign_image_keeps_its_name() -> None:
    assert version_of_image("ocmt/openclaw:2026.9.6") == "2026.9.6"
    assert version_of_image("example.org:5000/other") == "example.org:5000/other"
