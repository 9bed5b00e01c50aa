"""Files on their way from a page to an agent: bounded, and kept only until their message is sent.

They stay in the pieces of base64 that the page sent, so that a file is in memory once, and passes
to the gateway without being decoded or joined.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ocmt_common.problems import Problem

from ocmt_management.chat.frames import AttachFrame

# The gateway takes requests of 25 MiB; 1 MiB is left for the message's text and the files' names.
MAX_CHARS: Final = 24 * 1024 * 1024
"""The most base64 of all files of one message: 18 MiB of files."""
_IDLE_S = 30.0


@dataclass(slots=True, eq=False)
class _Upload:
    """The files of one message, so far."""

    user_id: str
    touched_at: float
    files: dict[int, list[str]] = field(default_factory=dict)
    chars: int = 0
    dropped: bool = False


class UploadSpace:
    """The memory for the uploads of all users, and of each."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        max_chars: int = 10 * MAX_CHARS,
        max_chars_of_user: int = 2 * MAX_CHARS,
    ) -> None:
        """`now` is a clock in seconds."""
        self.now = now
        self._max_chars = max_chars
        self._max_chars_of_user = max_chars_of_user
        self._uploads: set[_Upload] = set()

    @property
    def chars(self) -> int:
        return sum(upload.chars for upload in self._uploads)

    def begin(self, user_id: str) -> _Upload:
        upload = _Upload(user_id, self.now())
        self._uploads.add(upload)
        return upload

    def end(self, upload: _Upload) -> None:
        upload.dropped = True
        upload.files.clear()
        self._uploads.discard(upload)

    def make_room(self, upload: _Upload, chars: int) -> None:
        """Raises `Problem` if there is none for so many more characters of an upload."""
        if upload.chars + chars > MAX_CHARS:
            raise Problem(
                413,
                "files-too-large",
                "The files of one message can have 18 MB together. Send them in several messages.",
            )
        if self._is_full(upload.user_id, chars):
            for other in list(self._uploads):
                if other is not upload and self.now() - other.touched_at > _IDLE_S:
                    self.end(other)
        if self._is_full(upload.user_id, chars):
            raise Problem(
                503,
                "uploads-busy",
                "Too many files are being sent at the moment. Send your message again in a minute.",
            )

    def _is_full(self, user_id: str, chars: int) -> bool:
        own = sum(upload.chars for upload in self._uploads if upload.user_id == user_id)
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
        upload = self._own.get(message_id)
        if upload is None or upload.dropped:
            self._own = {known: one for known, one in self._own.items() if not one.dropped}
            upload = self._own[message_id] = self._space.begin(self._user_id)
        upload.touched_at = self._space.now()
        pieces = upload.files.setdefault(frame.file, [])
        if frame.at == 0:
            upload.chars -= sum(map(len, pieces))
            pieces.clear()
        try:
            if frame.at != sum(map(len, pieces)):
                raise _incomplete()
            self._space.make_room(upload, len(frame.data))
        except Problem:
            self._drop(message_id)
            raise
        pieces.append(frame.data)
        upload.chars += len(frame.data)

    def take(self, message_id: str, count: int) -> list[list[str]]:
        """The pieces of a message's files, which are no longer kept. Raises `Problem`."""
        upload = self._own.get(message_id)
        files = dict(upload.files) if upload is not None else {}
        self._drop(message_id)
        if sorted(files) != list(range(count)):
            raise _incomplete()
        return [files[number] for number in range(count)]

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
