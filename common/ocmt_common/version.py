"""The version that a server reports: the release's, or the package's in a checkout."""

from importlib import metadata

from ocmt_common.handover import release_dir


def release_version(package: str) -> str:
    """`VERSION` in the release's folder, else the installed package's version, else "unknown"."""
    release = release_dir()
    if release is not None and (release / "VERSION").is_file():
        return (release / "VERSION").read_text(encoding="utf-8").strip()
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
