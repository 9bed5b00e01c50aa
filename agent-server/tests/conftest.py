"""Makes `doubles` importable: stand-ins for what is outside the agent server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
