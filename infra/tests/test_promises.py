"""What README.md promises of a deployment: rights, doors, names, settings."""

import json
import re

import pytest
import yaml

from bicep import FILES, INFRA, MAIN, ROOT, body, dotted
from reference import documented

ROLES = FILES["modules/roles.bicep"]
README = (INFRA / "README.md").read_text()
STORAGE = ["modules/data.bicep", "modules/host.bicep"]

# Role definition ids are the same in every tenant and cloud.
NAMES = {
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": "Storage Queue Data Message Sender",
    "19e7f393-937e-4f77-808e-94535e297925": "Storage Queue Data Reader",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "21090545-7ca7-4776-b22c-e363652d74d2": "Key Vault Reader",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
}
QUEUE = "Microsoft.Storage/storageAccounts/queueServices/queues"
CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
KEY = "Microsoft.KeyVault/vaults/keys"

# Who gets what, on what: (type, name) of the one resource that a role is assigned on. Nothing wider is assigned anywhere.
ASSIGNED = {
    "modules/roles.bicep": {
        "appPrincipalId": {
            (KEY, "keyName", "signer.id"),
            (CONTAINER, "resultsContainer", "Storage Blob Data Contributor"),
            (CONTAINER, "rejectedContainer", "Storage Blob Data Contributor"),
            (CONTAINER, "container", "Storage Blob Data Reader"),
        }
    },
    "modules/host-roles.bicep": {
        "appPrincipalId": {
            (QUEUE, "queueName", "Storage Queue Data Contributor"),
            (QUEUE, "${queueName}-poison", "Storage Queue Data Contributor"),
            ("Microsoft.Storage/storageAccounts", "hostAccountName", "Storage Blob Data Owner"),
            ("Microsoft.Insights/components", "applicationInsightsName", "Monitoring Metrics Publisher"),
        }
    },
    "modules/operator.bicep": {
        "principalId": {
            (QUEUE, "queueName", "Storage Queue Data Message Sender"),
            (QUEUE, "queueName", "Storage Queue Data Reader"),
            (QUEUE, "${queueName}-poison", "Storage Queue Data Reader"),
            (CONTAINER, "resultsContainer", "Storage Blob Data Reader"),
            (CONTAINER, "rejectedContainer", "Storage Blob Data Reader"),
            (KEY, "keyName", "Key Vault Reader"),
        }
    },
    "modules/events.bicep": {
        "topic.identity.principalId": {(QUEUE, "queueName", "Storage Queue Data Message Sender")}
    },
    "container/modules/roles.bicep": {
        "appPrincipalId": {(QUEUE, "queueName", "puller.id")},
        "scalerPrincipalId": {(QUEUE, "queueName", "counter.id")},
    },
    "container/modules/registry.bicep": {
        "principalId": {("Microsoft.ContainerRegistry/registries", "name", "AcrPull")},
    },
}
# Roles of our own, by the symbols of their definitions.
OURS = {"signer.id": "Signet signer", "puller.id": "Signet puller", "counter.id": "Signet counter"}


def assignments(file):
    """{principal: {(type, name, role)}} of a file's role assignments."""
    found = {}
    for symbol, made in file.of_type("Microsoft.Authorization/roleAssignments"):
        scope = file.resources[dotted(made["scope"]).split("[")[0]]
        role = dotted(made["properties"]["roleDefinitionId"])
        inner = re.fullmatch(r"subscription_resource_id\(Microsoft.Authorization/roleDefinitions, (.*)\)", role)
        if inner:
            name, _, member = inner[1].partition(".")
            value = file.variables[name]["value"]
            role = NAMES[value[member] if member else value]
        entry = (scope["type"], dotted(body(scope["config"])["name"]), role)
        entries = found.setdefault(dotted(made["properties"]["principalId"]), set())
        assert entry not in entries, symbol
        entries.add(entry)
    return found


@pytest.mark.parametrize("name", FILES)
def test_roles_are_these_and_no_others(name):
    assert assignments(FILES[name]) == ASSIGNED.get(name, {})


def test_the_signer_may_read_and_sign_and_nothing_else():
    (_, signer), = ROLES.of_type("Microsoft.Authorization/roleDefinitions")
    permission, = signer["properties"]["permissions"]
    assert permission["dataActions"] == [
        "Microsoft.KeyVault/vaults/keys/read",
        "Microsoft.KeyVault/vaults/keys/sign/action",
    ]
    assert permission["actions"] == permission["notActions"] == permission["notDataActions"] == []
    assert [dotted(scope) for scope in signer["properties"]["assignableScopes"]] == ["resource_group()"]


def test_the_readmes_have_a_row_for_each_role():
    here, of_container = README, (INFRA / "container" / "README.md").read_text()
    needed = {
        here: {name for name in ASSIGNED if not name.startswith("container/")},
        of_container: {"modules/roles.bicep", "container/modules/roles.bicep", "container/modules/registry.bicep"},
    }
    for readme, names in needed.items():
        rows = [line for line in readme.splitlines() if line.startswith("|")]
        for _, _, role in (entry for name in names for entries in ASSIGNED[name].values() for entry in entries):
            assert any(f"| {OURS.get(role, role)}" in row for row in rows), role


@pytest.mark.parametrize("name", STORAGE)
def test_storage_takes_no_keys_no_strangers_and_no_old_tls(name):
    (_, account), = FILES[name].of_type("Microsoft.Storage/storageAccounts")
    properties = account["properties"]
    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["allowCrossTenantReplication"] is False
    assert properties["supportsHttpsTrafficOnly"] is True
    assert properties["minimumTlsVersion"] == "TLS1_2"
    containers = list(FILES[name].of_type(CONTAINER))
    assert containers
    for symbol, container in containers:
        assert container["properties"]["publicAccess"] == "None", symbol


def test_the_vault_keeps_what_it_has():
    vault = FILES["modules/vault.bicep"]
    (_, made), = vault.of_type("Microsoft.KeyVault/vaults")
    properties = made["properties"]
    assert properties["enableRbacAuthorization"] is True
    assert properties["enablePurgeProtection"] is True
    assert properties["enableSoftDelete"] is True
    (_, key), = vault.of_type(KEY)
    assert key["properties"]["keyOps"] == ["sign", "verify"]
    actions = {dotted(action["action"]["type"]) for action in key["properties"]["rotationPolicy"]["lifetimeActions"]}
    assert actions == {"rotate", "notify"}


def test_immutability_is_by_version_so_that_the_key_set_can_be_written():
    data = FILES["modules/data.bicep"]
    (_, policy), = data.of_type(f"{CONTAINER}/immutabilityPolicies")
    assert policy["parent"] == "results"
    results = body(data.resources["results"]["config"])["properties"]["immutableStorageWithVersioning"]
    assert dotted(results).startswith("conditional(isImmutable, {'enabled': True}")
    assert body(data.resources["blobService"]["config"])["properties"]["isVersioningEnabled"] == "isImmutable"


def test_telemetry_is_taken_from_identities_alone():
    monitoring = FILES["modules/monitoring.bicep"]
    (_, component), = monitoring.of_type("Microsoft.Insights/components")
    assert component["properties"]["DisableLocalAuth"] is True
    (_, workspace), = monitoring.of_type("Microsoft.OperationalInsights/workspaces")
    assert workspace["properties"]["features"]["disableLocalAuth"] is True


@pytest.mark.parametrize("name", FILES)
def test_no_cloud_is_written_down(name):
    suffixes = r"windows\.net|azure\.net|azure\.com|azure\.cn|chinacloudapi|usgovcloudapi|azure\.us|azure-automation"
    assert not re.findall(suffixes, FILES[name].code())


def app():
    (_, made), = FILES["modules/app.bicep"].of_type("Microsoft.Web/sites")
    return made["properties"]


def settings():
    (_, made), = FILES["modules/app.bicep"].of_type("Microsoft.Web/sites/config")
    return made["properties"]["function"]["parameters"]["arg_1"]


def test_the_app_is_a_custom_handler_on_flex_consumption():
    (_, plan), = FILES["modules/app.bicep"].of_type("Microsoft.Web/serverfarms")
    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert plan["properties"]["reserved"] is True
    config = app()["functionAppConfig"]
    assert config["runtime"] == {"name": "custom", "version": "1.0"}
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    assert app()["httpsOnly"] is True
    assert app()["siteConfig"]["minTlsVersion"] == app()["siteConfig"]["scmMinTlsVersion"] == "1.2"


def test_core_tools_would_publish_to_it():
    # What `func azure functionapp publish` looks at in an app of Flex Consumption before it uploads.
    assert any(name.startswith("AzureWebJobsStorage__") for name in settings())
    assert not {"WEBSITE_RUN_FROM_PACKAGE", "FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION"} & set(settings())


def test_publishing_passwords_are_refused():
    policies = FILES["modules/app.bicep"].of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {made["name"]: made["properties"]["allow"] for _, made in policies} == {"ftp": False, "scm": False}


def test_the_functions_that_the_template_names_are_there():
    functions = re.findall(r"'function:(\w+)'", FILES["modules/app.bicep"].text)
    assert functions == ["sign"]
    for function in functions:
        assert (ROOT / function / "function.json").is_file()


def test_the_queues_are_those_of_the_bindings():
    queues = {dotted(made["name"]) for _, made in FILES["modules/data.bicep"].of_type(QUEUE)}
    bound = set()
    for function in ("sign", "poison"):
        binding, = json.loads((ROOT / function / "function.json").read_text())["bindings"]
        bound.add(binding["queueName"].replace("%SIGNET_QUEUE%", "${queueName}"))
        assert f"{binding['connection']}__queueServiceUri" in settings()
    assert {re.sub(r"^queueName$", "${queueName}", queue) for queue in queues} == bound


def test_every_setting_that_the_handler_needs_is_given():
    needed = {name for name, is_needed in documented().items() if is_needed}
    assert len(needed) >= 4
    assert not needed - set(settings())


def test_every_setting_that_is_given_is_documented():
    ours = {name for name in settings() if name.startswith(("SIGNET_", "AZURE_"))}
    assert not ours - set(documented())


def test_no_setting_is_a_secret():
    for name in settings():
        assert not re.search(r"(?i)key$|secret|password|AccountKey", name) or name == "SIGNET_KEY", name
    text = FILES["modules/app.bicep"].code()
    assert not re.search(r"listKeys|AccountKey|getSecret|SharedAccess", text)


def test_parameters_of_azd_are_parameters_of_the_template():
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert not set(given) - set(MAIN.parameters)
    needed = {name for name, parameter in MAIN.parameters.items() if parameter["default"] is None}
    assert not needed - set(given)


def test_the_readme_has_every_parameter():
    table = README.split("\n## Parameters\n")[1].split("\n## ")[0]
    assert set(re.findall(r"(?m)^\| `(\w+)`", table)) == set(MAIN.parameters)
    variables = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    for name, parameter in variables.items():
        row, = re.findall(rf"(?m)^\| `{name}` .*$", table)
        variable = re.match(r"\$\{(\w+)", str(parameter["value"]))
        # azd puts in who has signed in for the principal, whatever `azd env set` says; a list is written into the file.
        is_settable = variable and not variable[1].startswith("AZURE_PRINCIPAL_")
        assert (f"`{variable[1]}`" if is_settable else "`main.parameters.json`") in row, row


NETWORK = FILES["modules/network.bicep"]


def test_the_endpoints_admit_the_app_and_who_is_named_and_nobody_else():
    (rules,) = [made for symbol, made in NETWORK.of_type("Microsoft.Network/networkSecurityGroups") if symbol == "endpointRules"]
    given = rules["properties"]["securityRules"]["function"]
    assert given["type"] == "concat"
    always, named = list(given["parameters"].values())[:2]
    always = {rule["name"]: rule["properties"] for rule in always}
    assert always["app"]["sourceAddressPrefix"] == "appSubnetPrefix"
    assert (always["nobody-else"]["access"], always["nobody-else"]["sourceAddressPrefix"]) == ("Deny", "*")
    assert named == "clients"
    text = NETWORK.text.split("var clients = ")[1].split("\n]\n")[0]
    assert text.startswith("empty(clientPrefixes) ? [] : [")
    for line in ("access: 'Allow'", "protocol: 'Tcp'", "sourceAddressPrefixes: clientPrefixes", "destinationPortRange: '443'"):
        assert f"\n      {line}\n" in text, line
    priority = int(re.search(r"priority: (\d+)", text)[1])
    assert always["app"]["priority"] < priority < always["nobody-else"]["priority"]


def test_every_linked_network_finds_every_zone():
    links = dict(NETWORK.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks"))
    assert set(links) == {"links", "otherLinks"}
    # i counts zones within networks, so that each pair comes once.
    pairs = NETWORK.text.split("resource otherLinks ")[1].split("\n]\n")[0]
    assert "for i in range(0, length(zoneNames) * length(linkedNetworks))" in pairs
    assert "parent: zones[i % length(zoneNames)]" in pairs
    assert "id: linkedNetworks[i / length(zoneNames)]" in pairs


def test_outputs_have_what_the_readme_takes_from_them():
    taken = set(re.findall(r"azd env get-value (\w+)", README)) | set(re.findall(r"\$\{?(SIGNET_\w+|WorkQueue__\w+)", README))
    known_to_azd = {"AZURE_SUBSCRIPTION_ID", "AZURE_ENV_NAME"}
    assert len(taken) > 8
    assert not taken - set(MAIN.outputs) - known_to_azd


def test_azd_is_new_enough_to_leave_a_zip_as_it_is():
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    least = re.fullmatch(r">= (\d+\.\d+\.\d+)", azure["requiredVersions"]["azd"])[1]
    assert f"{least} or newer" in README
    # `language: custom` is an alpha feature of azd, which refuses to load the project without it.
    assert "azd config set alpha.language.custom on" in README


def test_azd_deploys_the_package_to_the_app():
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    (name, service), = azure["services"].items()
    assert service["host"] == "function"
    assert service["language"] == "custom"
    assert service["dist"] == "dist/signet.zip"
    tags = body(MAIN.modules["app"]["config"])["params"]["tags"]
    assert tags["function"]["parameters"]["arg_2"] == {"'azd-service-name'": name}
    assert "scripts/package" in service["hooks"]["prepackage"]["posix"]["run"]


def test_actions_are_pinned():
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for path in workflows:
        uses = re.findall(r"(?m)^\s*-?\s*uses:\s*(.*)$", path.read_text())
        assert uses, path
        for use in uses:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use
