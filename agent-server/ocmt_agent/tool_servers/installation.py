"""The limits of an installation, and explanations of its failure. Pure.

The program that installs is `install_package.mjs`.
"""

import re
from importlib.resources import files

from ocmt_agent.tool_servers.containers import Package

MOST_MB = 512
"""The limit on the package with its dependencies, the archive and npm's cache."""
WITHIN_S = 300
_KILLED = 137
_OTHER_HASH = 11
_NO_PROGRAM = 13
_BY_EXIT_CODE = {
    _KILLED: "too large",
    _OTHER_HASH: "another hash",
    _NO_PROGRAM: "no program",
}
_BY_NPM_CODE = {
    "ENOSPC": "too large",
    "E404": "missing",
    "ETARGET": "missing",
    "ENOVERSIONS": "missing",
    **dict.fromkeys(
        ("EAI_AGAIN", "ENOTFOUND", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH"),
        "unreachable",
    ),
}
_NPM_CODE = re.compile(r"npm error code ([A-Z][A-Z0-9_]*)|\b(ENOSPC)\b")


def install_command(package: Package) -> list[str]:
    program = files("ocmt_agent.tool_servers").joinpath("install_package.mjs").read_text("utf-8")
    words = (package.name, package.version, package.integrity)
    return ["node", "--input-type=module", "-e", program, *words]


def why_not_installed(package: Package, *, exit_code: int | None, output: str) -> str:
    """Explain a failed installation, with the cure. `exit_code` is `None` if it took too long.

    Only npm's error code is shown, since its output has URLs and text of third parties.
    """
    found = _NPM_CODE.search(output)
    code = (found[1] or found[2]) if found else f"exit code {exit_code}"
    kind = "slow" if exit_code is None else _BY_EXIT_CODE.get(exit_code) or _BY_NPM_CODE.get(code)
    reasons = {
        "slow": (f"it took longer than {WITHIN_S} s", "Try again"),
        "too large": (
            f"it needs more than {MOST_MB} MB with its dependencies, or this host's disk is full",
            "Use a smaller package, or free space",
        ),
        "another hash": (
            "its archive does not have the given hash",
            "Compare the integrity with that of its publisher, and do not use it before you know "
            "why they differ",
        ),
        "no program": (
            "it has no program of its own name",
            "Use a package that can be started with npx",
        ),
        "missing": ("npm's registry does not have it", "Check its name and version"),
        "unreachable": (
            "this host's containers cannot reach npm's registry",
            "Check the host's network and name servers, and try again",
        ),
    }
    reason, remedy = reasons.get(
        kind or "", (f"npm failed ({code})", "Try again, or use another version")
    )
    return f"The package {package} cannot be installed: {reason}. {remedy}."
