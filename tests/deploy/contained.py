"""A command as a container would run it: no root, no capabilities, nothing writable but the folders named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

USER = 10001
# A read-only view of everything in a mount namespace of its own; `rw` folders and /tmp stay writable there.
_SCRIPT = """
set -e
mount --make-rprivate /
for folder in $WRITABLE; do mount --bind "$folder" "$folder"; done
mount --bind / /
mount -o remount,bind,ro /
mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
cd "$1"
shift
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def why_not() -> str | None:
    """Return why commands cannot be contained here; None when they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux for a mount namespace of its own"
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "needs unshare and setpriv (util-linux)"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount --bind / / && mount -o remount,bind,ro /"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"no mount namespace here: {tried.stderr.strip()}"


def contained(command: list[str], cwd: Path, writable: list[Path]) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs `command` so, and the variables it needs beside those of `command`."""
    variables = {"WRITABLE": " ".join(map(str, writable)), "USER_ID": str(USER)}
    return ["unshare", "--mount", "sh", "-c", _SCRIPT, "contained", str(cwd), *command], variables
