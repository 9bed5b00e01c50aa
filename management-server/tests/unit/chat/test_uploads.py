"""Files on their way to an agent: complete, in order, and bounded."""

from typing import Any
from uuid import uuid4

import pytest
from ocmt_common.problems import Problem
from ocmt_management.chat import frames
from ocmt_management.chat.frames import AttachFrame, SendFrame, is_use
from ocmt_management.chat.uploads import MAX_CHARS, MAX_MESSAGES, Uploads, UploadSpace
from ocmt_management.chat.uploads import MIN_PIECE_CHARS as LEAST
from ocmt_management.picture_types import picture_type

ID = str(uuid4())
OTHER = str(uuid4())
LONG = "A" * LEAST


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piece(data: str = "AAAA", *, at: int = 0, file: int = 0, message: str = ID) -> AttachFrame:
    return AttachFrame.model_validate(
        {"type": "attach", "id": message, "file": file, "at": at, "data": data}
    )


def fill(uploads: Uploads, chars: int, message: str = ID) -> None:
    for at in range(0, chars, 1024 * 1024):
        uploads.add(piece("A" * min(1024 * 1024, chars - at), at=at, message=message))


def taken(uploads: Uploads, count: int) -> list[list[str]]:
    with uploads.taken(ID, count) as files:
        return [list(file) for file in files]


def test_pieces_come_out_in_order_once() -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    uploads.add(piece(LONG))
    uploads.add(piece("BBBB", file=1))
    uploads.add(piece("CC==", at=LEAST))

    assert space.chars == 2 * LEAST + 8
    assert taken(uploads, 2) == [[LONG, "CC=="], ["BBBB"]]
    assert space.chars == 0
    with pytest.raises(Problem, match="again"):
        taken(uploads, 2)


def test_a_file_that_begins_anew_replaces_what_came_before() -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    uploads.add(piece(LONG))
    uploads.add(piece("BBBB", at=LEAST))
    uploads.add(piece("CCCC"))
    assert space.chars == LEAST + 4
    assert taken(uploads, 1) == [["CCCC"]]


def test_small_pieces_are_refused_but_for_a_file_s_last() -> None:
    uploads = Uploads(UploadSpace(Clock()), "ada")
    uploads.add(piece("AAAA"))
    with pytest.raises(Problem) as refused:
        uploads.add(piece("AAAA", at=4))
    assert refused.value.code == "files-incomplete"


def test_a_chat_has_few_messages_with_files_on_their_way() -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    for _ in range(MAX_MESSAGES):
        uploads.add(piece(message=str(uuid4())))
    with pytest.raises(Problem) as refused:
        uploads.add(piece(message=str(uuid4())))
    assert refused.value.code == "uploads-busy"
    assert space.chars == MAX_MESSAGES * (LEAST + 4)


def test_files_count_until_their_message_is_sent() -> None:
    clock = Clock()
    space = UploadSpace(clock)
    one, two = Uploads(space, "ada"), Uploads(space, "ada")
    for uploads in (one, two):
        fill(uploads, MAX_CHARS)
    with one.taken(ID, 1), two.taken(ID, 1):
        clock.now = 10_000
        with pytest.raises(Problem) as refused:
            one.add(piece(message=OTHER))
        assert refused.value.code == "uploads-busy"
        one.close()
        assert space.chars == 2 * (MAX_CHARS + LEAST)
    assert space.chars == 0
    one.add(piece(message=OTHER))


def test_an_upload_that_never_ends_makes_room_for_others() -> None:
    clock = Clock()
    space = UploadSpace(clock, max_chars=3 * LEAST)
    slow, other = Uploads(space, "ada"), Uploads(space, "bob")
    slow.add(piece(LONG))
    for _ in range(20):
        clock.now += 20
        slow.add(piece(LONG))  # begun anew again and again
    other.add(piece(LONG))
    assert space.chars == 2 * LEAST


@pytest.mark.parametrize("at", [3, 5, 8])
def test_a_gap_is_refused_and_everything_of_the_message_dropped(at: int) -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    uploads.add(piece())
    with pytest.raises(Problem) as refused:
        uploads.add(piece(at=at))
    assert (refused.value.status, refused.value.code) == (503, "files-incomplete")
    assert space.chars == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_message_with_other_files_than_arrived_is_refused(count: int) -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    uploads.add(piece())
    uploads.add(piece(file=1))
    with pytest.raises(Problem), uploads.taken(ID, count):
        pass
    assert space.chars == 0


def test_the_files_of_a_message_are_bounded() -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    fill(uploads, MAX_CHARS)
    with pytest.raises(Problem) as refused:
        uploads.add(piece(file=1))
    assert (refused.value.status, refused.value.code) == (413, "files-too-large")
    assert space.chars == 0


def test_users_do_not_take_the_room_of_others() -> None:
    clock = Clock()
    space = UploadSpace(clock, max_chars=5 * LEAST, max_chars_of_user=3 * LEAST)
    tabs = [Uploads(space, "ada"), Uploads(space, "ada")]
    tabs[0].add(piece(LONG))
    with pytest.raises(Problem) as refused:
        tabs[1].add(piece(LONG, message=OTHER))
    assert refused.value.code == "uploads-busy"

    bob, cy = Uploads(space, "bob"), Uploads(space, "cy")
    bob.add(piece(LONG))
    with pytest.raises(Problem):
        cy.add(piece(LONG))
    clock.now = 31  # what nobody continues makes room
    bob.add(piece(LONG))
    cy.add(piece(LONG))
    assert space.chars == 4 * LEAST
    with pytest.raises(Problem):
        tabs[0].add(piece(at=LEAST))


def test_a_chat_that_ends_keeps_nothing() -> None:
    space = UploadSpace(Clock())
    uploads = Uploads(space, "ada")
    uploads.add(piece())
    uploads.add(piece(message=OTHER))
    uploads.close()
    assert space.chars == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"data": ""},
        {"data": '","x":"'},
        {"data": "AA=A"},
        {"data": "A\\nA"},
        {"file": 10},
        {"file": -1},
        {"at": -1},
        {"id": "x"},
    ],
)
def test_odd_pieces_are_refused(changes: dict[str, Any]) -> None:
    good = {"type": "attach", "id": ID, "file": 0, "at": 0, "data": "AAAA"}
    with pytest.raises(ValueError):
        AttachFrame.model_validate(good | changes)


@pytest.mark.parametrize(
    "files",
    [
        [{"name": "a", "type": "text"}],
        [{"name": "a", "type": 'text/"html'}],
        [{"name": "x" * 201, "type": "text/plain"}],
        [{"name": "a", "type": "text/plain", "content": "AAAA"}],
        [{"name": "a", "type": "text/plain"}] * 11,
    ],
)
def test_odd_files_are_refused(files: list[Any]) -> None:
    with pytest.raises(ValueError):
        SendFrame.model_validate({"type": "send", "id": ID, "text": "hi", "files": files})


def test_a_message_needs_a_text_or_a_file() -> None:
    file = {"name": "a", "type": "text/plain"}
    SendFrame.model_validate({"type": "send", "id": ID, "text": "", "files": [file]})
    with pytest.raises(ValueError):
        SendFrame.model_validate({"type": "send", "id": ID, "text": " \n"})


def test_pieces_alone_are_no_use() -> None:
    assert not is_use(piece())
    assert frames.refused(piece(), "c", "d", retry=True)["id"] == ID


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", ""),
        (b"<!doctype html>", ""),
        (b"%PDF-1.7", ""),
        (b"RIFF....WAVE", ""),
        (b"", ""),
    ],
)
def test_only_pictures_that_run_nothing_are_shown(beginning: bytes, kind: str) -> None:
    assert picture_type(beginning) == kind
