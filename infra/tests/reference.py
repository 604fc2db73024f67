"""The settings that the documentation has: those of the handler, and those of `handler pull`."""

import re

from bicep import INFRA, ROOT

_ROW = re.compile(r"(?m)^\| `(\w+)` \| (yes|no) \|")


def documented():
    """{setting: whether it is needed} of docs/reference.md."""
    return _settings((ROOT / "docs" / "reference.md").read_text())


def documented_for_pull():
    """The same of `handler pull`, which has some of its own."""
    return documented() | _settings((INFRA / "container" / "README.md").read_text())


def _settings(text):
    # Every section of that name: each front door may have its own.
    sections = re.findall(r"(?ms)^##+ [^\n]*[Ss]ettings[^\n]*\n(.*?)(?=^## |\Z)", text)
    return {name: needed == "yes" for section in sections for name, needed in _ROW.findall(section)}
