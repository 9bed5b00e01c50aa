"""The types of pictures that a page may show, since they run nothing, by their first bytes."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
PICTURES = frozenset({kind for _, kind in _SIGNATURES} | {"image/webp"})


def picture_type(beginning: bytes) -> str:
    """The type of a picture that begins with these bytes; empty for everything else."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if beginning.startswith(signature)), "")
