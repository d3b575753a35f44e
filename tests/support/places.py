"""Paths of the repository, its tests, their helpers and the samples."""

import os
from pathlib import Path
from typing import Final

SUPPORT: Final = Path(__file__).parent
TESTS: Final = SUPPORT.parent
ROOT: Final = TESTS.parent
PROOF: Final = TESTS / "proof"
SAMPLES: Final = TESTS / "samples"
PYTHONPATH: Final = os.pathsep.join(map(str, (ROOT, SUPPORT, PROOF)))
"""The PYTHONPATH of a process that a test starts and that imports the helpers."""
