"""Bicep files, read for the tests: pycep's tree of each, and the symbols in its text."""

import re
from pathlib import Path

from pycep import BicepParser

INFRA = Path(__file__).resolve().parent.parent
ROOT = INFRA.parent

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)|(?P<newline>\n)|(?P<space>[ \t\r]+)"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<string>')|(?P<mark>.)",
    re.S,
)


class Bicep:
    """One file: its text, pycep's tree, and what its text declares and refers to."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text()
        self.tree = BicepParser().parse(text=self.text)
        self.parameters = self.tree.get("parameters", {})
        self.variables = self.tree.get("variables", {})
        self.resources = self.tree.get("resources", {})
        self.modules = self.tree.get("modules", {})
        self.outputs = self.tree.get("outputs", {})
        self.tokens = list(_tokens(self.text))

    def declared(self):
        """Every name that an expression may use."""
        names = {*self.parameters, *self.variables, *self.resources, *self.modules}
        return names | {name for names in map(_loop_names, self._loops()) for name in names}

    def referenced(self):
        """Names in expressions: no declaration, no property, no object's key, no function."""
        words = self.tokens
        for at, (kind, word) in enumerate(words):
            if kind != "word" or word in {"true", "false", "null", "if", "for", "in"}:
                continue
            before = words[at - 1] if at else ("newline", "\n")
            after = words[at + 1] if at + 1 < len(words) else ("newline", "\n")
            is_property = before[1] in {".", "@"}
            is_key = after[1] == ":" and before[1] in {"\n", "{", ","}
            if not (is_property or is_key or after[1] == "(" or self._is_declaration(at)):
                yield word

    def called(self):
        """Names of the functions that are called, other than decorators and methods."""
        for at, (kind, word) in enumerate(self.tokens[:-1]):
            before = self.tokens[at - 1][1] if at else "\n"
            if kind == "word" and self.tokens[at + 1][1] == "(" and before not in {".", "@"} and word not in {"if", "in", "for"}:
                yield word

    def module_outputs(self):
        """(module, output) of each `module.outputs.output`."""
        words = [word for kind, word in self.tokens if word not in {"!", "?"}]
        for name, dot, outputs, dot_again, output in zip(words, words[1:], words[2:], words[3:], words[4:]):
            if (dot, outputs, dot_again) == (".", "outputs", "."):
                yield name, output

    def code(self):
        """The text without comments."""
        return re.sub(r"(?m)^\s*//.*$", "", self.text)

    def of_type(self, kind):
        """(symbol, body) of each resource of this type that is made here, not only referred to."""
        for symbol, resource in self.resources.items():
            if resource["type"].lower() == kind.lower() and not resource["existing"]:
                yield symbol, body(resource["config"])

    def _is_declaration(self, at):
        """Whether the word stands in the head of a declaration: `resource NAME`, `param NAME TYPE`, `existing`."""
        line = []
        for _, word in reversed(self.tokens[:at]):
            if word == "\n":
                break
            line.insert(0, word)
        heads = {"param", "var", "resource", "module", "output", "targetScope"}
        word = self.tokens[at][1]
        if not line:
            return word in heads
        return line[0] in heads and "=" not in line and (len(line) <= 2 or word == "existing")

    def _loops(self):
        return [found for found in re.findall(r"\bfor\s+(\([^)]*\)|\w+)\s+in\b", self.text)]


def _loop_names(text):
    return re.findall(r"\w+", text)


def _tokens(text, at=0, end=None):
    """Words and marks; of a string, what its interpolations hold."""
    end = len(text) if end is None else end
    while at < end:
        found = _TOKEN.match(text, at, end)
        kind = found.lastgroup
        at = found.end()
        if kind == "string":
            yield "string", "'"
            at = yield from _string(text, at, end)
        elif kind not in {"comment", "space"}:
            yield kind, found.group()


def _string(text, at, end):
    """The interpolations of a string that begins before `at`; returns where it ends."""
    while text[at] != "'":
        if text[at] == "\\":
            at += 2
        elif text.startswith("${", at):
            depth, begin = 1, at + 2
            at = begin
            while depth:
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
            yield from _tokens(text, begin, at - 1)
        else:
            at += 1
        assert at < end, "a string does not end"
    return at + 1


def body(config):
    """What is made, without the loop or the condition around it."""
    while isinstance(config, dict) and "config" in config and ("loop_type" in config or "condition" in config):
        config = config["config"]
    return config


def dotted(value):
    """An expression as it stands in the text, as far as the tests need it: names, members, indices, functions."""
    if not isinstance(value, dict):
        return str(value)
    if "operator" in value:
        kind, operands = value["operator"]["type"], value["operator"]["operands"]
        first, second = (dotted(operand) for operand in list(operands.values())[:2])
        if kind == "property_accessor":
            return f"{first}.{second}"
        if kind == "index_accessor":
            return f"{first}[{second}]"
        return f"{kind}({', '.join(dotted(operand) for operand in operands.values())})"
    if "function" in value:
        function = value["function"]
        given = (dotted(argument) for argument in function.get("parameters", {}).values() if argument is not None)
        return f"{function['type']}({', '.join(given)})"
    return str(value)


FILES = {path.relative_to(INFRA).as_posix(): Bicep(path) for path in sorted(INFRA.rglob("*.bicep"))}
MAIN = FILES["main.bicep"]
CONTAINER = FILES["container/main.bicep"]


def target(main, symbol):
    """The file of a module that `main` uses."""
    path = (main.path.parent / main.modules[symbol]["detail"]["path"]).resolve()
    return FILES[path.relative_to(INFRA).as_posix()]
