"""Files on their way from a page to an agent: bounded, and kept only until their message is sent.

They stay in the pieces of base64 that the page sent, so that a file is in memory once, and passes
to the gateway without being decoded or joined. What a piece costs depends on nothing that was kept
before: many small ones must not keep the server from its other users.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ocmt_common.problems import Problem

from ocmt_management.chat.frames import AttachFrame

# The gateway takes requests of 25 MiB; 1 MiB is left for the message's text and the files' names.
MAX_CHARS: Final = 24 * 1024 * 1024
"""The most base64 of all files of one message: 18 MiB of files."""
MIN_PIECE_CHARS: Final = 64 * 1024
"""The least of each piece but a file's last, and what each message counts for at least."""
MAX_MESSAGES: Final = 16
"""The most messages of one chat whose files are on their way."""
_IDLE_S = 30.0
_LIFE_S = 300.0


@dataclass(slots=True)
class _File:
    pieces: list[str] = field(default_factory=list)
    chars: int = 0


@dataclass(slots=True, eq=False)
class _Upload:
    """The files of one message, so far."""

    user_id: str
    begun_at: float
    touched_at: float
    files: dict[int, _File] = field(default_factory=dict)
    chars: int = 0
    """What it counts for."""
    being_sent: bool = False
    dropped: bool = False


class UploadSpace:
    """The memory for the uploads of all users, and of each.

    A message's files are counted from their first piece until the message is sent.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        max_chars: int = 10 * MAX_CHARS,
        max_chars_of_user: int = 2 * MAX_CHARS + 2 * MIN_PIECE_CHARS,
    ) -> None:
        """`now` is a clock in seconds."""
        self.now = now
        self._max_chars = max_chars
        self._max_chars_of_user = max_chars_of_user
        self._uploads: set[_Upload] = set()
        self._of_user: Counter[str] = Counter()
        self.chars = 0

    def begin(self, user_id: str) -> _Upload:
        """Raises `Problem` if there is no room for another upload."""
        self._require(user_id, MIN_PIECE_CHARS, None)
        upload = _Upload(user_id, begun_at=self.now(), touched_at=self.now())
        self._uploads.add(upload)
        self.count(upload, MIN_PIECE_CHARS)
        return upload

    def end(self, upload: _Upload) -> None:
        upload.dropped = True
        upload.files.clear()
        self.count(upload, -upload.chars)
        self._uploads.discard(upload)

    def make_room(self, upload: _Upload, chars: int) -> None:
        """Count so many more characters of an upload. Raises `Problem` if there is no room."""
        if upload.chars - MIN_PIECE_CHARS + chars > MAX_CHARS:
            raise Problem(
                413,
                "files-too-large",
                "The files of one message can have 18 MB together. Send them in several messages.",
            )
        self._require(upload.user_id, chars, upload)
        self.count(upload, chars)

    def count(self, upload: _Upload, chars: int) -> None:
        upload.chars += chars
        self.chars += chars
        self._of_user[upload.user_id] += chars
        if not self._of_user[upload.user_id]:
            del self._of_user[upload.user_id]

    def _require(self, user_id: str, chars: int, upload: _Upload | None) -> None:
        if self._is_full(user_id, chars):
            for other in list(self._uploads):
                if other is not upload and self._is_given_up(other):
                    self.end(other)
        if self._is_full(user_id, chars):
            raise _busy()

    def _is_given_up(self, upload: _Upload) -> bool:
        now = self.now()
        idle = now - upload.touched_at > _IDLE_S or now - upload.begun_at > _LIFE_S
        return idle and not upload.being_sent

    def _is_full(self, user_id: str, chars: int) -> bool:
        own = self._of_user.get(user_id, 0)
        return own + chars > self._max_chars_of_user or self.chars + chars > self._max_chars


class Uploads:
    """The uploads of one chat, by the id of their message."""

    def __init__(self, space: UploadSpace, user_id: str) -> None:
        self._space = space
        self._user_id = user_id
        self._own: dict[str, _Upload] = {}

    def add(self, frame: AttachFrame) -> None:
        """Keep a piece. Raises `Problem`; then the message's other pieces are dropped, too."""
        message_id = str(frame.id)
        try:
            self._add(self._upload(message_id), frame)
        except Problem:
            self._drop(message_id)
            raise

    def _add(self, upload: _Upload, frame: AttachFrame) -> None:
        upload.touched_at = self._space.now()
        file = upload.files.setdefault(frame.file, _File())
        if frame.at == 0:
            self._space.count(upload, -file.chars)
            file = upload.files[frame.file] = _File()
        elif frame.at != file.chars or len(file.pieces[-1]) < MIN_PIECE_CHARS:
            raise _incomplete()
        self._space.make_room(upload, len(frame.data))
        file.pieces.append(frame.data)
        file.chars += len(frame.data)

    def _upload(self, message_id: str) -> _Upload:
        upload = self._own.get(message_id)
        if upload is not None and not upload.dropped:
            return upload
        if len(self._own) >= MAX_MESSAGES:
            self._own = {known: one for known, one in self._own.items() if not one.dropped}
        if len(self._own) >= MAX_MESSAGES:
            raise _busy()
        upload = self._own[message_id] = self._space.begin(self._user_id)
        return upload

    @contextmanager
    def taken(self, message_id: str, count: int) -> Iterator[list[list[str]]]:
        """The pieces of a message's files, which are counted until the block ends.

        Raises `Problem` if other files arrived than `count` of them.
        """
        upload = self._own.pop(message_id, None)
        if upload is None:
            raise _incomplete()
        try:
            upload.being_sent = True
            if sorted(upload.files) != list(range(count)):
                raise _incomplete()
            yield [upload.files[number].pieces for number in range(count)]
        finally:
            self._space.end(upload)

    def close(self) -> None:
        for message_id in list(self._own):
            self._drop(message_id)

    def _drop(self, message_id: str) -> None:
        upload = self._own.pop(message_id, None)
        if upload is not None:
            self._space.end(upload)


def _incomplete() -> Problem:
    return Problem(
        503, "files-incomplete", "The files did not arrive completely. Send your message again."
    )


def _busy() -> Problem:
    return Problem(
        503,
        "uploads-busy",
        "Too many files are being sent at the moment. Send your message again in a minute.",
    )
