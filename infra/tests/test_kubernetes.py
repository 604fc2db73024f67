"""What container/README.md promises of the Kubernetes manifests, and what Kubernetes and KEDA say of their form."""

import copy
import re
import subprocess

import jsonschema
import kubernetes_validate
import pytest

from bicep import CONTAINER, INFRA, ROOT
from manifests import VARIANTS, built, container, keda, keda_schemas, pod, scaled
from reference import documented_for_pull

EACH = pytest.mark.parametrize("variant", VARIANTS)
DOCKERFILE = (INFRA / "container" / "Dockerfile").read_text()
# The newest release whose schemas are at hand, strict ones.
KUBERNETES = "1.37"


@EACH
def test_kubernetes_knows_every_member(variant):
    looked_at = 0
    for kind, manifest in built(variant).items():
        if kind in keda_schemas():
            jsonschema.Draft4Validator(keda_schemas()[kind]).validate(manifest)
        else:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        looked_at += 1
    assert looked_at >= 6


def test_a_job_is_made_of_a_pod_that_kubernetes_knows():
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "one"}, "spec": built("job")["ScaledJob"]["spec"]["jobTargetRef"]}
    kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_the_schemas_can_refuse():
    deployment = copy.deepcopy(built("deployment")["Deployment"])
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)
    for member in ("minReplicas", "triggers"):
        broken = copy.deepcopy(scaled("deployment"))
        broken["spec"][member] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft4Validator(keda_schemas()["ScaledObject"]).validate(broken)


@EACH
def test_nothing_is_root_or_can_become_it(variant):
    assert pod(variant)["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(variant)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert built(variant)["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@EACH
def test_the_pod_is_the_images_own_user_and_port(variant):
    user = re.search(r"(?m)^USER (\d+):(\d+)$", DOCKERFILE)
    context = pod(variant)["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))
    port, = container(variant)["ports"]
    assert port["containerPort"] == int(re.search(r"SIGNET_HEALTH=0\.0\.0\.0:(\d+)", DOCKERFILE)[1])
    probes = {path: container(variant)[probe]["httpGet"] for probe, path in (("livenessProbe", "/live"), ("readinessProbe", "/ready"))}
    assert all(probe == {"path": path, "port": port["name"]} for path, probe in probes.items())


@EACH
def test_the_image_is_named_by_digest(variant):
    assert container(variant)["image"].endswith("/signet@IMAGE_DIGEST")
    assert container(variant)["args"] == ["pull"]


@EACH
def test_there_is_time_to_end(variant):
    assert pod(variant)["spec"]["terminationGracePeriodSeconds"] >= int(built(variant)["ConfigMap"]["data"]["SIGNET_DRAIN"]) + 10


@EACH
def test_settings_are_those_of_the_reference(variant):
    given = built(variant)["ConfigMap"]["data"]
    assert not set(given) - set(documented_for_pull())
    assert not {name for name, is_needed in documented_for_pull().items() if is_needed} - set(given)
    source, = container(variant)["envFrom"]
    assert source == {"configMapRef": {"name": built(variant)["ConfigMap"]["metadata"]["name"]}}
    assert "env" not in container(variant)


def test_only_jobs_end_by_themselves():
    assert "SIGNET_EXIT_WHEN_IDLE" in built("job")["ConfigMap"]["data"]
    assert "SIGNET_EXIT_WHEN_IDLE" not in built("deployment")["ConfigMap"]["data"]
    assert pod("job")["spec"]["restartPolicy"] == "Never"
    assert "Deployment" not in built("job")


def test_both_variants_run_the_same_pod():
    of_job, of_deployment = copy.deepcopy(pod("job")), copy.deepcopy(pod("deployment"))
    del of_job["spec"]["restartPolicy"]
    # Their settings differ, and so does the name that has a digest of these.
    names = {given["spec"]["containers"][0].pop("envFrom")[0]["configMapRef"]["name"] for given in (of_job, of_deployment)}
    assert len(names) == 2
    assert of_job == of_deployment


@EACH
def test_azure_is_reached_without_a_secret(variant):
    account = built(variant)["ServiceAccount"]
    assert set(account["metadata"]["annotations"]) == {"azure.workload.identity/client-id"}
    assert pod(variant)["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    assert pod(variant)["spec"]["serviceAccountName"] == account["metadata"]["name"]
    # The cluster's own token is in no pod.
    assert account["automountServiceAccountToken"] is pod(variant)["spec"]["automountServiceAccountToken"] is False
    assert "Secret" not in built(variant)
    text = str(list(built(variant).values()))
    assert not re.search(r"secretRef|secretKeyRef|secretTargetRef|AccountKey|SharedAccessSignature|(?i:password)", text)


@EACH
def test_the_queue_is_counted_by_an_identity_that_does_nothing_else(variant):
    authentication = built(variant)["TriggerAuthentication"]
    trigger, = scaled(variant)["spec"]["triggers"]
    assert authentication["spec"]["podIdentity"] == {"provider": "azure-workload", "identityId": "SCALER_CLIENT_ID"}
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    signer = built(variant)["ServiceAccount"]["metadata"]["annotations"]["azure.workload.identity/client-id"]
    assert signer != authentication["spec"]["podIdentity"]["identityId"]


@EACH
def test_what_is_counted_is_what_is_pulled(variant):
    trigger, = scaled(variant)["spec"]["triggers"]
    settings = built(variant)["ConfigMap"]["data"]
    assert trigger["type"] == "azure-queue"
    assert trigger["metadata"]["queueName"] == settings["SIGNET_QUEUE"]
    assert trigger["metadata"]["queueLength"] == settings["SIGNET_CONCURRENCY"]


@EACH
def test_the_scaler_reads_what_it_is_given(variant):
    source = (keda() / "pkg" / "scalers" / "azure_queue_scaler.go").read_text()
    known = set(re.findall(r'keda:"name=(\w+),[^"]*order=[^"]*triggerMetadata', source)) | {"cloud"}
    assert {"queueName", "accountName", "queueLength"} <= known
    trigger, = scaled(variant)["spec"]["triggers"]
    assert not set(trigger["metadata"]) - known
    clouds = (keda() / "pkg" / "scalers" / "azure" / "azure_cloud_environment.go").read_text()
    assert f'"{trigger["metadata"]["cloud"].upper()}":' in clouds


@EACH
def test_nobody_calls_it_and_it_calls_names_and_https_alone(variant):
    policy = built(variant)["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod(variant)["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == []
    ports = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 443)}
    assert "Service" not in built(variant)


def test_the_budget_is_for_these_pods():
    budget = built("deployment")["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= pod("deployment")["metadata"]["labels"].items()
    assert scaled("deployment")["spec"]["scaleTargetRef"]["name"] == built("deployment")["Deployment"]["metadata"]["name"]
    assert "replicas" not in built("deployment")["Deployment"]["spec"]


def test_what_the_readme_fills_in_is_everything(tmp_path):
    readme = (INFRA / "container" / "README.md").read_text()
    commands = re.search(r"(?s)\ncp -r infra/container/kubernetes signet-NAME\n.*?(?=kubectl apply)", readme)[0]
    # Its commands as they stand, but for who knows the outputs.
    target = tmp_path / "filled"
    script = 'output() { echo "https://of.$1/end"; }\n' + commands.replace("signet-NAME", str(target))
    subprocess.run(["bash", "-euc", script], cwd=ROOT, check=True)
    for variant in VARIANTS:
        made = subprocess.run(["kustomize", "build", target / variant], check=True, capture_output=True, text=True).stdout
        outputs = set(re.findall(r"https://of\.(\w+)", made))
        assert outputs == {"SIGNET_CLIENT_ID", "SCALER_CLIENT_ID", "SIGNET_DATA_ACCOUNT", "SIGNET_KEY", "WorkQueue__queueServiceUri", "SIGNET_RESULTS", "SIGNET_QUEUE", "SIGNET_SOURCES"}
        assert outputs <= set(CONTAINER.outputs)
        assert "image: REGISTRY.azurecr.io/signet@sha256:DIGEST\n" in made
        without = re.sub(r"https://of\.\w+", "", made).replace("REGISTRY.azurecr.io/signet@sha256:DIGEST", "")
        assert not re.search(r"\b[A-Z]+_[A-Z_]*(?:ID|URI|ENDPOINT|ACCOUNT|CONTAINERS|DIGEST|NAME|SERVER)\b|REGISTRY", without.replace("AZURE_CLIENT_ID", ""))
