"""The service does what its OpenAPI document says, with a real network behind it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import folder_runs
import served
from folder_runs import FULL

PICTURES = Path(__file__).with_name("schema_pictures.py")


@pytest.mark.reliability("S26")
def test_answers_are_those_of_the_document(tmp_path: Path) -> None:
    """Schemathesis makes requests from the document, good and bad ones, and holds the answers to it."""
    with served.service(tmp_path, "--model", folder_runs.weights(tmp_path), "--no-access-log") as service:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{service.port}/openapi.json",
            *("--max-examples", "500" if FULL else "20", "--seed", "8"),
            *("--phases", "examples,coverage,fuzzing,stateful"),
            *("--workers", "1", "--suppress-health-check", "all", "--no-color"),
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(PICTURES)}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=1800, check=False, cwd=tmp_path, env=environment
        )
        measures = service.get("/metrics").body.decode()
        log = service.log.read_text("utf-8")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    sys.stdout.write(done.stdout[-1500:])
    assert "Traceback" not in log
    done_well = re.search(r'requests_total{method="POST",route="/v1/restore",status="200"} (\d+)', measures)
    assert done_well is not None
    assert int(done_well[1]) >= 20
