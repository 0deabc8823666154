"""Without PyAV (the extra ``video``) nothing here can run."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV is not installed (extra video)")
sys.path.insert(0, str(Path(__file__).parent))
