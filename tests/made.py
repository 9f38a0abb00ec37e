"""What is made of the book in Chromium: printed, and as an ePub."""

import os
import subprocess
from pathlib import Path

import pytest
from chromium import NoChromium, launched


def made_in_chromium(target):
    """Run `make target`. Without Chromium the test is skipped, or fails in CI."""
    try:
        with launched():
            pass
    except NoChromium as missing:
        pytest.fail(str(missing)) if os.environ.get("CI") else pytest.skip(str(missing))
    made = subprocess.run(["make", target], cwd=Path(__file__).parents[1], capture_output=True, encoding="utf-8",
                          timeout=1800)  # fmt: skip
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
