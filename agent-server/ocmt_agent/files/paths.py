"""Paths within a workspace, as a user's browser sends them. Pure."""

from ocmt_common.problems import Problem

_MOST_CHARACTERS = 4096
_MOST_DEPTH = 64
_MOST_NAME_BYTES = 255


def names_of(path: str) -> list[str]:
    """The names in a path such as `notes/today.md`; none for the workspace itself.

    Raises `Problem` 422 for a path that is not plainly below the workspace.
    """
    if path == "":
        return []
    names = path.split("/")
    if len(path) > _MOST_CHARACTERS or len(names) > _MOST_DEPTH:
        raise _refused("it is too long")
    for name in names:
        if name in ("", ".", ".."):
            raise _refused("every part of it must have a name")
        if not is_plain(name):
            raise _refused("it has a character that names cannot have")
        if len(name.encode()) > _MOST_NAME_BYTES:
            raise _refused("a name in it is too long")
    return names


def is_plain(name: str) -> bool:
    """Whether a name can be sent, shown and sent back: Unicode without control characters."""
    return not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name)


def shown(name: str) -> str:
    """A name that is not plain, for people to recognise; it opens nothing."""
    return "".join(c if is_plain(c) else "\ufffd" for c in name)


def _refused(reason: str) -> Problem:
    return Problem(422, "path-invalid", f"Choose another name or folder: {reason}.")
