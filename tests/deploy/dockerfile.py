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
    """Do what the COPY lines from the build context do, with `folder` as the image's root."""
    at = folder
    for each in stage.instructions:
        if each.name == "WORKDIR":
            at = folder / each.text.lstrip("/")
        elif each.name == "COPY" and "--from" not in each.text:
            copy(each, at)


def copy(instruction: Instruction, at: Path) -> None:
    """Do one COPY from the build context into the folder of work `at`."""
    *sources, target = instruction.words
    into = at / target
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, into, ignore=shutil.ignore_patterns(*ignored()))
        elif "*" in source or target.endswith("/"):
            into.mkdir(parents=True, exist_ok=True)
            for each in sorted(ROOT.glob(source)):
                shutil.copy2(each, into / each.name)
        else:
            at.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into)


def ignored() -> list[str]:
    """What .dockerignore keeps out of the folders it lets through."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("**/") for line in lines if line.startswith("**/")]
