"""An agent's name and face: what is accepted, and the agent's own file."""

import base64

import pytest
from ocmt_management.agents.identity import MAX_FACE, IdentityRequest, is_emoji, with_identity

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n....").decode()
WEBP = base64.b64encode(b"RIFF....WEBPVP8 ").decode()
WAVE = base64.b64encode(b"RIFF....WAVEfmt ").decode()
TEMPLATE = """# IDENTITY.md - Who Am I?

- **Name:**
  _(pick something you like)_
- **Creature:**
  _(AI? robot?)_
- **Emoji:**
  _(your signature)_

Notes:
- Name: is parsed
"""


def test_name_and_emoji_replace_the_template_s_hints_and_nothing_else() -> None:
    written = with_identity(TEMPLATE, "Ada \\1 $", "🦊")
    assert written == TEMPLATE.replace(
        "- **Name:**\n  _(pick something you like)_", "- **Name:** Ada \\1 $"
    ).replace("- **Emoji:**\n  _(your signature)_", "- **Emoji:** 🦊")
    assert with_identity(written, "Bo", "").startswith(
        "# IDENTITY.md - Who Am I?\n\n- **Name:** Bo\n- **Creature:**\n"
    )
    assert with_identity(TEMPLATE, "", "") == TEMPLATE


@pytest.mark.parametrize("text", ["", "# Me\n", "plain\n\n"])
def test_a_file_without_the_fields_gets_them(text: str) -> None:
    written = with_identity(text, "Ada", "🦊")
    assert written.endswith("- **Name:** Ada\n\n- **Emoji:** 🦊\n")
    assert with_identity(written, "Ada", "🦊") == written


@pytest.mark.parametrize(
    "face",
    [
        "",
        "🦊",
        "👩🏽‍🚀",
        "☀️",
        f"data:image/png;base64,{PNG}",
        f"data:image/webp;base64,{WEBP}",
    ],
)
def test_an_emoji_or_a_small_picture_is_a_face(face: str) -> None:
    assert IdentityRequest(name=" Ada ", face=face).name == "Ada"
    assert is_emoji(face) == (face != "" and not face.startswith("data:"))


@pytest.mark.parametrize(
    "face",
    [
        "A",
        "<b>",
        "🦊 🦊",
        "🦊" * 17,
        "javascript:alert(1)",
        "https://example.org/x.png",
        f"data:image/svg+xml;base64,{PNG}",
        f"data:text/html;base64,{PNG}",
        f"data:image/jpeg;base64,{PNG}",
        f"data:image/webp;base64,{WAVE}",
        f"data:image/png;base64,{PNG}\"onerror='",
        "data:image/png;base64," + PNG + "A" * MAX_FACE,
    ],
)
def test_anything_else_is_not(face: str) -> None:
    with pytest.raises(ValueError):
        IdentityRequest(name="Ada", face=face)


@pytest.mark.parametrize("name", ["x" * 41, "two\nlines", "a\tb", "hidden\u200bone", "\u202eback"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        IdentityRequest(name=name, face="")
