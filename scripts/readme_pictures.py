"""Copies the README's pictures to `docs/pictures` from those that the e2e tests keep.

`.venv/bin/python scripts/readme_pictures.py` after `./ocmt test e2e -- -k barrier`.
"""

import shutil
import sys

from ocmt_cli.checkout import DEFAULT_DATA, ROOT

KEPT = DEFAULT_DATA / "test-pictures"
SHOWN = ROOT / "docs" / "pictures"
PICTURES = tuple(
    f"{name}-{theme}.png"
    for name in ("chat-1280", "chat-360", "your-agent-1280")
    for theme in ("light", "dark")
)


def main() -> None:
    missing = [name for name in PICTURES if not (KEPT / name).exists()]
    if missing:
        sys.exit(f"{KEPT} has no {', '.join(missing)}. Run ./ocmt test e2e -- -k barrier first.")
    SHOWN.mkdir(exist_ok=True)
    for name in PICTURES:
        shutil.copyfile(KEPT / name, SHOWN / name)


if __name__ == "__main__":
    main()
