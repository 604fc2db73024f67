"""A Dockerfile of the few instructions that ours has, carried out by hand: what an image of it would be, without an engine."""

import json
import re
import shutil
from pathlib import Path

from dockerfile_parse import DockerfileParser


class Image:
    """What a container of the image starts with."""

    def __init__(self, dockerfile):
        with dockerfile.open("rb") as file:
            self.instructions = [(each["instruction"], each["value"]) for each in DockerfileParser(fileobj=_Read(file.read())).structure]
        self.copies, self.environment, self.labels, self.ports = [], {}, {}, []
        for instruction, value in self.instructions:
            getattr(self, f"_{instruction.lower()}")(value)

    def lay_out(self, context, root):
        """Copies into the directory `root` what the image has of the directory `context`."""
        for source, target in self.copies:
            to = root / target.lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context / source, to)

    def _from(self, value):
        self.base = value

    def _comment(self, value):
        pass

    def _arg(self, value):
        pass

    def _label(self, value):
        self.labels |= dict(re.findall(r'([\w.]+)="([^"]*)"', value))

    def _copy(self, value):
        source, target = value.split()
        self.copies.append((source, target))

    def _user(self, value):
        self.user, self.group = (int(part) for part in value.split(":"))

    def _env(self, value):
        name, _, given = value.partition("=")
        self.environment[name] = given

    def _expose(self, value):
        self.ports.append(int(value))

    def _entrypoint(self, value):
        self.entry_point = json.loads(value)

    def _cmd(self, value):
        self.command = json.loads(value)


class _Read:
    """A file that the parser can read and not change."""

    def __init__(self, content):
        self._content, self.mode = content, "rb"

    def read(self):
        return self._content

    def readlines(self):
        return self._content.splitlines(keepends=True)

    def seek(self, _):
        pass


def context_of(ignore):
    """Paths that a .dockerignore of `*` and exceptions lets through."""
    rules = [line for line in ignore.read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*" and all(rule.startswith("!") for rule in rules[1:]), rules
    return [Path(rule[1:]).as_posix() for rule in rules[1:]]
