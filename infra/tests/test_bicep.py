"""What the Bicep compiler would say of names, as far as that can be told without it."""

import pytest
import tree_sitter
import tree_sitter_bicep

from bicep import FILES, INFRA, MAIN, body

FUNCTIONS = {
    "concat", "empty", "endsWith", "environment", "guid", "join", "length", "loadTextContent", "range", "replace", "resourceGroup", "startsWith",
    "string", "subscription", "subscriptionResourceId", "tenant", "toLower", "union", "uniqueString",
}
FILE_CASES = pytest.mark.parametrize("name", FILES)


GRAMMAR = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


@FILE_CASES
def test_a_second_grammar_reads_it(name):
    assert not GRAMMAR.parse(FILES[name].text.encode()).root_node.has_error


def test_the_second_grammar_can_refuse():
    assert GRAMMAR.parse(b"resource a 'b@c' = { name: }").root_node.has_error


@FILE_CASES
def test_every_name_is_declared(name):
    unknown = set(FILES[name].referenced()) - FILES[name].declared()
    assert not unknown


@FILE_CASES
def test_every_function_is_one_of_bicep(name):
    assert not set(FILES[name].called()) - FUNCTIONS


@FILE_CASES
def test_every_parameter_and_variable_is_used(name):
    file = FILES[name]
    assert not {*file.parameters, *file.variables} - set(file.referenced())


@FILE_CASES
def test_every_file_that_is_loaded_is_there(name):
    file = FILES[name]
    for word in file.text.split("loadTextContent('")[1:]:
        assert (file.path.parent / word.split("'")[0]).is_file()


def test_modules_get_what_they_ask_for_and_no_more():
    for symbol, module in MAIN.modules.items():
        target = FILES[module["detail"]["path"]]
        given = body(module["config"])["params"]
        needed = {name for name, parameter in target.parameters.items() if parameter["default"] is None}
        assert not set(given) - set(target.parameters), symbol
        assert not needed - set(given), symbol


def test_what_is_passed_on_keeps_its_type():
    compared = 0
    for symbol, module in MAIN.modules.items():
        target = FILES[module["detail"]["path"]]
        for name, value in body(module["config"])["params"].items():
            if isinstance(value, str) and value in MAIN.parameters:
                assert target.parameters[name]["type"] == MAIN.parameters[value]["type"], (symbol, name)
                compared += 1
    assert compared > 20


def test_outputs_of_modules_exist():
    found = list(MAIN.module_outputs())
    assert len(found) > 20
    for symbol, output in found:
        assert output in FILES[MAIN.modules[symbol]["detail"]["path"]].outputs, (symbol, output)


def test_every_module_is_used():
    used = {module["detail"]["path"] for module in MAIN.modules.values()}
    assert used == {path.relative_to(INFRA).as_posix() for path in (INFRA / "modules").glob("*.bicep")}


@FILE_CASES
def test_api_versions_are_stable(name):
    # Diagnostic settings have had no stable version since 2016, and that one is of another shape.
    without_stable = {"Microsoft.Insights/diagnosticSettings"}
    for symbol, resource in FILES[name].resources.items():
        if resource["type"] not in without_stable:
            assert len(resource["api_version"]) == len("2025-01-01"), symbol
