"""Reads a Dockerfile into stages of instructions: as much of the format as our two files use."""

import json
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, from either form."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


class Stage(NamedTuple):
    base: str
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    def last(self, name: str) -> Instruction:
        return self.all(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        return dict(each.text.split("=", 1) for each in self.all("ENV"))

    @property
    def copies(self) -> list[tuple[str, str]]:
        """Source and target of every COPY from the build context."""
        pairs = [each.words for each in self.all("COPY") if "--from" not in each.text]
        return [(source, words[-1]) for words in pairs for source in words[:-1]]

    @property
    def healthcheck(self) -> list[str]:
        """The command of the HEALTHCHECK."""
        return json.loads(self.last("HEALTHCHECK").text.split(" CMD ", 1)[1])


def stages(name: str) -> list[Stage]:
    found: list[Stage] = []
    for line in (ROOT / "deploy" / name).read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, text = line.partition(" ")
        assert not line.endswith("\\"), "one instruction a line"
        if instruction == "FROM":
            found.append(Stage(text, []))
        elif found:
            found[-1].instructions.append(Instruction(instruction, text.strip()))
    return found


def copy_into(stage: Stage, folder: Path) -> None:
    """Do what the COPY lines from the build context do, with `folder` as the image's root and /app as where they go."""
    for source, target in stage.copies:
        into = folder / "app" / target
        if "*" in source or target.endswith("/"):
            into.mkdir(parents=True, exist_ok=True)
            for path in sorted(ROOT.glob(source)):
                shutil.copy(path, into / path.name)
        else:
            shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
