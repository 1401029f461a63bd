"""The peers' environments: one a peer, under ``var/peers``, made once and made again when what it is made of changes.

This module must not know what runs in an environment.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

HOME: Final = Path("var/peers")
REQUIREMENTS: Final = Path(__file__).parent / "requirements"
BUILD_SECONDS: Final = 900
SHARED: Final = ("scikit-learn", "numpy", "onnxruntime")
"""Packages of which every peer has the version this environment has: they run the model, and read the file it is in."""
_MARK: Final = "made_of"
_NAME: Final = re.compile(r"[\w.-]+")


class NotInstalled(Exception):
    """Why an environment could not be made, in one line."""


def built(name: str) -> Path:
    """Return the folder of a peer's programs, ``var/peers/<name>/venv/bin``; the environment is made when there is none.

    Parameters
    ----------
    name
        Of the file in ``requirements/`` that says what is installed.

    Raises
    ------
    NotInstalled
        When the installer failed, or took longer than `BUILD_SECONDS`.
    """
    # Not resolved: the programs of an environment are found by the path they were called by.
    home = (HOME / name).absolute()
    programs = home / "venv" / "bin"
    wanted = (REQUIREMENTS / f"{name}.in").read_text()
    pins = "".join(f"{package}=={version(package)}\n" for package in SHARED)
    stamp = hashlib.sha256(f"{sys.version}\n{wanted}\n{pins}".encode()).hexdigest()
    if (home / _MARK).exists() and (home / _MARK).read_text() == stamp:
        return programs
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "wanted.in").write_text(wanted)
    (home / "pins.txt").write_text(pins)
    for command in _commands(home):
        _run(command, home / "build.log")
    (home / _MARK).write_text(stamp)
    return programs


def versions(name: str) -> list[str]:
    """Return what a peer's environment was asked for, with the versions that came: ``["fastapi 0.165.0", ...]``."""
    home = HOME / name
    wanted = {_plain(_NAME.match(line)[0]) for line in (home / "wanted.in").read_text().split()}  # type: ignore[index]
    found = (
        path.name.removesuffix(".dist-info").rpartition("-")
        for path in home.glob("venv/lib*/*/site-packages/*.dist-info")
    )
    return sorted({f"{_plain(package)} {release}" for package, _, release in found if _plain(package) in wanted})


def _plain(package: str) -> str:
    return package.lower().replace("_", "-")


def _commands(home: Path) -> list[list[str]]:
    """Return how the environment is made: by uv where it is on the path, which takes seconds, else by venv and pip."""
    files = ["-r", str(home / "wanted.in"), "-c", str(home / "pins.txt")]
    python = str(home / "venv" / "bin" / "python")
    uv = shutil.which("uv")
    if uv is None:
        return [
            [sys.executable, "-m", "venv", str(home / "venv")],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *files],
        ]
    return [
        [uv, "venv", "--quiet", "--python", sys.executable, str(home / "venv")],
        [uv, "pip", "install", "--quiet", "--python", python, *files],
    ]


def _run(command: list[str], log: Path) -> None:
    with log.open("ab") as output:
        try:
            # Niced: a build may take all cores of a machine on which others are at work.
            subprocess.run(  # noqa: S603  (the commands above)
                ["nice", "-n", "10", *command],  # noqa: S607
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=BUILD_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            msg = f"installing it took longer than {BUILD_SECONDS} s"
            raise NotInstalled(msg) from error
        except (subprocess.CalledProcessError, OSError) as error:
            said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            wrong = next((line for line in said if "error" in line.lower()), said[-1] if said else str(error))
            msg = f"it cannot be installed here: {wrong[:200]} (all of it in {log})"
            raise NotInstalled(msg) from error
