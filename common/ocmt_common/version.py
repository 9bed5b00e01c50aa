"""The version a server reports: the release's own, or the package's in a checkout."""

from importlib import metadata
from pathlib import Path


def release_version(package: str, *, release_root: Path | None = None) -> str:
    """What `/health` shows: `VERSION` in the release folder, else the package's version.

    `release_root` is the folder a deploy unpacked the release into; `None` outside a release.
    """
    if release_root is not None:
        stamp = release_root / "VERSION"
        if stamp.is_file():
            return stamp.read_text(encoding="utf-8").strip()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
