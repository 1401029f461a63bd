"""What the Spark engine needs beside Python, looked for before anything of it is loaded or started.

This module must not import PySpark.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from trainer.errors import FeaturesError

LEAST_JAVA: Final = 17
"""The oldest Java that Spark 4 runs on."""

GATEWAY: Final = "PYSPARK_GATEWAY_PORT"
"""Set where spark-submit (or a platform in its place) started this process and a Java of its own."""


def require_spark() -> None:
    """Refuse in one sentence where Spark cannot run.

    Raises
    ------
    FeaturesError
        When there is no PySpark, or no Java that is recent enough.
    """
    if importlib.util.find_spec("pyspark") is None:
        msg = (
            "the engine spark needs PySpark, which is an extra: pip install --require-hashes -r requirements/spark.txt"
        )
        raise FeaturesError(msg)
    if GATEWAY in os.environ:
        return
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if java is None:
        place = f"in JAVA_HOME, which is {home}" if home else "on PATH"
        msg = f"the engine spark needs Java {LEAST_JAVA} or newer, found none {place}"
        raise FeaturesError(msg)
    found = _version(java)
    if found is not None and found < LEAST_JAVA:
        msg = f"the engine spark needs Java {LEAST_JAVA} or newer, {java} is version {found}"
        raise FeaturesError(msg)


def _version(java: str) -> int | None:
    """Return the major version of a Java, None when it does not say."""
    try:
        # The path was looked up above.
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{java} does not start: {error}"
        raise FeaturesError(msg) from error
    # Up to 8 it called itself 1.8.
    number = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(number[1]) if number else None
