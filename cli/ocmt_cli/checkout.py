"""Where the checkout is: the command runs from it, by an editable install."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = ROOT / "data"
