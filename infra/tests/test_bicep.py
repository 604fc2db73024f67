"""What the Bicep compiler would say of names, as far as that can be told without it."""

import pytest
import tree_sitter
import tree_sitter_bicep

from bicep import CONTAINER, FILES, INFRA, MAIN, body, target

FUNCTIONS = {
    "concat", "empty", "endsWith", "environment", "guid", "items", "join", "json", "length", "loadTextContent", "range", "replace", "resourceGroup", "startsWith",
    "string", "subscription", "subscriptionResourceId", "tenant", "toLower", "union", "uniqueString",
}
FILE_CASES = pytest.mark.parametrize("name", FILES)
MAINS = pytest.mark.parametrize("main", [MAIN, CONTAINER], ids=["functions", "container"])


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


@MAINS
def test_modules_get_what_they_ask_for_and_no_more(main):
    for symbol, module in main.modules.items():
        file = target(main, symbol)
        given = body(module["config"])["params"]
        needed = {name for name, parameter in file.parameters.items() if parameter["default"] is None}
        assert not set(given) - set(file.parameters), symbol
        assert not needed - set(given), symbol


@MAINS
def test_what_is_passed_on_keeps_its_type(main):
    compared = 0
    for symbol, module in main.modules.items():
        file = target(main, symbol)
        for name, value in body(module["config"])["params"].items():
            if isinstance(value, str) and value in main.parameters:
                assert file.parameters[name]["type"] == main.parameters[value]["type"], (symbol, name)
                compared += 1
    assert compared > 20


@MAINS
def test_outputs_of_modules_exist(main):
    found = list(main.module_outputs())
    assert len(found) > 20
    for symbol, output in found:
        assert output in target(main, symbol).outputs, (symbol, output)


def test_every_module_is_used():
    used = {target(main, symbol).path for main in (MAIN, CONTAINER) for symbol in main.modules}
    assert used == {file.path for file in FILES.values() if file.path.parent.name == "modules"}


@FILE_CASES
def test_api_versions_are_stable(name):
    # Diagnostic settings have had no stable version since 2016, and that one is of another shape.
    without_stable = {"Microsoft.Insights/diagnosticSettings"}
    for symbol, resource in FILES[name].resources.items():
        if resource["type"] not in without_stable:
            assert len(resource["api_version"]) == len("2025-01-01"), symbol
