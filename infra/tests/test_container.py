"""What container/README.md promises of the container app: rights, doors, names, settings, scale."""

import json
import re

from bicep import CONTAINER, FILES, INFRA, dotted
from reference import documented_for_pull

ROLES = FILES["container/modules/roles.bicep"]
APP = FILES["container/modules/app.bicep"]
README = (INFRA / "container" / "README.md").read_text()
DOCKERFILE = (INFRA / "container" / "Dockerfile").read_text()
QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"


def app():
    (_, made), = APP.of_type("Microsoft.App/containerApps")
    return made["properties"]


def container():
    only, = app()["template"]["containers"]
    return only


def settings():
    """{setting: value} of the container, before those of the parameter `settings`."""
    assert re.search(r"for setting in items\(given\): \{\s+name: setting\.key\s+value: setting\.value\s+\}", APP.text)
    return APP.variables["given"]["value"]["function"]["parameters"]["arg_1"]


def permissions(symbol):
    """(actions, data actions) of a role that is defined here."""
    made = dict(ROLES.of_type("Microsoft.Authorization/roleDefinitions"))[symbol]
    permission, = made["properties"]["permissions"]
    assert permission["notActions"] == permission["notDataActions"] == []
    assert [dotted(scope) for scope in made["properties"]["assignableScopes"]] == ["resource_group()"]
    return permission["actions"], permission["dataActions"]


def test_the_puller_may_receive_update_and_delete_and_nothing_else():
    assert permissions("puller") == ([], [f"{QUEUES}/messages/process/action", f"{QUEUES}/messages/write"])


def test_the_counter_may_count_and_nothing_else():
    assert permissions("counter") == ([f"{QUEUES}/read"], [])


def test_nobody_can_call_it():
    assert "ingress" not in app()["configuration"]
    assert app()["configuration"]["activeRevisionsMode"] == "Single"


def test_the_container_can_become_the_signer_and_no_other():
    lifecycles = {each["identity"]: each["lifecycle"] for each in app()["configuration"]["identitySettings"]}
    assert lifecycles == {"identityId": "Main", "scalerIdentityId": "None", "registryIdentityId": "None"}
    registry, = app()["configuration"]["registries"]
    assert registry == {"server": "registryServer", "identity": "registryIdentityId"}
    assert settings()["AZURE_CLIENT_ID"] == "identityClientId"


def test_what_is_counted_is_what_is_pulled():
    rule, = app()["template"]["scale"]["rules"]
    custom = rule["custom"]
    assert custom["type"] == "azure-queue"
    assert custom["identity"] == "scalerIdentityId"
    assert "auth" not in custom
    assert custom["metadata"]["queueName"] == settings()["SIGNET_QUEUE"] == "queueName"
    assert dotted(custom["metadata"]["queueLength"]) == dotted(settings()["SIGNET_CONCURRENCY"]) == "string(concurrency)"
    assert set(APP.variables["clouds"]["value"]) == {"AzureCloud", "AzureUSGovernment", "AzureChinaCloud"}


def test_probes_ask_where_the_image_listens():
    port = int(re.search(r"SIGNET_HEALTH=0\.0\.0\.0:(\d+)", DOCKERFILE)[1])
    probes = {probe["type"]: probe["httpGet"] for probe in container()["probes"]}
    assert probes == {"Liveness": {"path": "/live", "port": port}, "Readiness": {"path": "/ready", "port": port}}
    assert "SIGNET_HEALTH" not in settings()
    assert container()["args"] == json.loads(re.search(r"(?m)^CMD (.*)$", DOCKERFILE)[1])


def test_there_is_time_to_end():
    # A drain, and up to ten seconds for what was asked already and for telemetry: docs/reference.md.
    assert app()["template"]["terminationGracePeriodSeconds"] == "gracePeriod"
    assert "\n  SIGNET_DRAIN: string(gracePeriod - 10)\n" in APP.text
    assert CONTAINER.parameters["gracePeriod"]["default"] == 30
    decorated = CONTAINER.text.split("\nparam gracePeriod int")[0].rsplit("\n\n", 1)[1]
    assert "@minValue(10)\n@maxValue(600)" in decorated
    assert "gracePeriod: gracePeriod\n" in CONTAINER.text


def test_settings_are_those_of_the_reference():
    ours = {name for name in settings() if name.startswith(("SIGNET_", "AZURE_", "WorkQueue__"))}
    assert not set(settings()) - ours
    assert not ours - set(documented_for_pull())
    assert not {name for name, is_needed in documented_for_pull().items() if is_needed} - ours


def test_no_setting_is_a_secret():
    assert not re.search(r"listKeys|AccountKey|getSecret|SharedAccess|secretRef|secrets:|sharedKey", APP.code())
    for name in settings():
        assert name == "SIGNET_KEY" or not re.search(r"(?i)key$|secret|password", name), name


def test_logs_take_no_shared_key():
    (_, made), = APP.of_type("Microsoft.App/managedEnvironments")
    assert made["properties"]["appLogsConfiguration"] == {"destination": "azure-monitor"}
    (_, logs), = APP.of_type("Microsoft.Insights/diagnosticSettings")
    assert {log["category"] for log in logs["properties"]["logs"]} == {"ContainerAppConsoleLogs", "ContainerAppSystemLogs"}


def test_lines_are_read_from_where_they_are_sent():
    lines = (INFRA / "container" / "lines.kql").read_text()
    names = {dotted(made["name"]) for _, made in APP.of_type("Microsoft.App/containerApps")}
    assert names == {"name"}
    assert "name: 'ca-signet-${token}'" in CONTAINER.text
    assert 'ContainerAppName startswith "ca-signet-"' in lines
    # Both get the same.
    assert CONTAINER.text.count("prelude: prelude\n") == CONTAINER.text.count("hasHost: false\n") == 2
    # What has no level is an error on stderr: `configuration: …`, and what a panic says.
    assert 'case(Log startswith "WARN", 2, Log startswith "ERROR" or Stream == "stderr", 3, 1)' in lines
    columns = {"timestamp", "message", "severityLevel", "customDimensions", "operation_Name", "cloud_RoleInstance"}
    assert set(re.findall(r"(\w+) = ", lines.partition("project ")[2])) == columns


def test_parameters_are_parameters_of_the_template():
    given = json.loads((INFRA / "container" / "main.parameters.json").read_text())["parameters"]
    assert not set(given) - set(CONTAINER.parameters)
    for name, parameter in given.items():
        default = CONTAINER.parameters[name]["default"]
        assert str(parameter["value"]).lower() == str(default).lower(), name


def test_the_readme_has_every_parameter():
    table = README.split("\n## Parameters\n")[1].split("\n## ")[0]
    assert set(re.findall(r"(?m)^\| `(\w+)`", table)) == set(CONTAINER.parameters)


def test_outputs_have_what_the_readme_takes_from_them():
    taken = set(re.findall(r"\$\(output (\w+)\)", README))
    assert len(taken) >= 5
    assert not taken - set(CONTAINER.outputs)
