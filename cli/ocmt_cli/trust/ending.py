"""Warnings of `ocmt status` and `ocmt doctor` about expiring certificates."""

from datetime import datetime
from pathlib import Path

from ocmt_common.host_credentials import CA_FILE, NEAR_END

from ocmt_cli.checkout import command
from ocmt_cli.trust.authority import ends_at


def has_ended(text: str, now: datetime) -> bool:
    """Whether a certificate (PEM) has expired; `False` if there is none."""
    end = ends_at(text)
    return end is not None and now >= end


def warning(text: str, now: datetime) -> str:
    """A sentence with the cure for a certificate (PEM) that expires soon or has; "" else."""
    end = ends_at(text)
    if end is None or now < end - NEAR_END:
        return ""
    verb = "expired" if now >= end else "expires"
    return f"the certificate for the other host {verb} on {end:%Y-%m-%d}; run `{command('renew')}`"


def in_folder(folder: Path) -> dict[str, str]:
    """Host → key and certificate, from the operator's CA folder; unreadable files are left out."""
    found = {}
    for file in sorted(folder.glob("*.pem")):
        if file.name == CA_FILE:
            continue
        try:
            found[file.stem] = file.read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
    return found
