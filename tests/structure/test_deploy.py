"""Every service can be deployed in every way there is, and all ways are equally careful."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.deploy.settings import ENV_EXAMPLE, FIXED, MARKS, block
from tests.structure.test_shape import ROOT, SERVICES

DEPLOY = ROOT / "deploy"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COMPOSE, HA = ((DEPLOY / name).read_text("utf-8") for name in ("compose.yaml", "compose.ha.yaml"))
CLEANUP = 25
"""Seconds a drain may take after `DRAIN_TIMEOUT`: error frames and clean-ups."""


def entry(compose: str, name: str) -> str:
    """Give the lines of one service in a Compose file."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", compose, re.MULTILINE)
    assert found, f"there is no service {name}"
    return found.group(1)


def routed(path: str) -> dict[str, str]:
    """Give where an nginx map sends each service."""
    return dict(re.findall(r"^    ([a-z0-9-]+) +(\S+:\d+);$", (DEPLOY / path).read_text("utf-8"), re.MULTILINE))


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_has_a_profile_and_all(self, name: str) -> None:
        assert f"profiles: [{name}, all]" in entry(COMPOSE, name)
        # A root that is read-only has no other place for STATE_FILE.
        assert f'volumes: ["{name}:/state"]' in entry(COMPOSE, name)

    @pytest.mark.parametrize("compose", [COMPOSE, HA], ids=["compose", "ha"])
    def test_is_the_common_service_with_its_own_image_port_and_secrets(self, name: str, compose: str) -> None:
        text = entry(compose, name)
        assert "<<: *service" in text
        assert f"/{name}:${{TAG:-latest}}" in text
        assert f'{name.upper()}_PORT: "8000"' in text
        assert f"{name.upper()}_ACCOUNTS_FILE: /run/secrets/accounts" in text
        assert f"source: {name}_accounts, target: accounts" in text
        assert f'{name}_accounts: {{file: "${{{name.upper()}_ACCOUNTS_FILE:-./secrets/none}}"}}' in compose

    def test_is_built_as_itself(self, name: str) -> None:
        assert f"PROVIDER: {name}" in entry(COMPOSE, name)

    def test_runs_in_as_many_replicas_as_wanted(self, name: str) -> None:
        assert f"replicas: ${{{name.upper()}_REPLICAS:-0}}" in entry(HA, name)

    def test_has_a_route_wherever_nginx_runs(self, name: str) -> None:
        assert routed("nginx/upstreams.conf")[name] == f"{name}:8000"
        assert routed("nginx/local/upstreams.conf")[name].startswith("127.0.0.1:")
        assert routed("kubernetes/example/upstreams.conf")[name].startswith(f"{name}.")

    def test_has_a_kubernetes_folder(self, name: str) -> None:
        text = (DEPLOY / "kubernetes" / name / "kustomization.yaml").read_text("utf-8")
        assert f"app.kubernetes.io/name: {name}}}" in text
        assert text.count(f"value: {name}}}") == 2

    def test_is_named_in_the_example_of_the_environment(self, name: str) -> None:
        text = ENV_EXAMPLE.read_text("utf-8")
        for variable in ("PORT", "ACCOUNTS_FILE", "REPLICAS"):
            assert f"#{name.upper()}_{variable}=" in text


def test_every_way_knows_the_same_ports() -> None:
    ports = re.findall(r"\$\{([A-Z0-9_]+)_PORT:-(\d+)\}:8000", COMPOSE)
    assert {name.lower(): f"127.0.0.1:{port}" for name, port in ports} == routed("nginx/local/upstreams.conf")
    text = ENV_EXAMPLE.read_text("utf-8")
    assert [name for name, port in ports if f"#{name}_PORT={port}\n" not in text] == []


def test_the_image_matrix_has_every_service() -> None:
    text = (ROOT / ".github" / "workflows" / "images.yml").read_text("utf-8")
    listing = re.search(r"\$\((printf .*?) \| jq", text)
    assert listing
    # The very command of the workflow, without the last part, which makes it JSON.
    found = subprocess.run(["bash", "-c", listing.group(1)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [name for name in SERVICES if (ROOT / "services" / name / "__main__.py").exists()]
    assert "service: ${{ fromJSON(needs.common.outputs.services) }}" in text


def test_the_environment_example_has_every_setting_as_it_is() -> None:
    text = ENV_EXAMPLE.read_text("utf-8")
    inside = text.partition(MARKS[0] + "\n")[2].partition("\n" + MARKS[1])[0]
    assert inside == block(), "run: python -m tests.deploy.settings"


def test_what_is_not_among_the_settings_is_set_by_compose() -> None:
    assert [name for name in FIXED if f"\n  {name}: " not in HA] == []
    assert [name for name in FIXED - {"REDIS_URL"} if f"\n  {name}: " not in COMPOSE] == []


@pytest.mark.parametrize("variable", sorted(set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE + HA))))
def test_every_variable_of_compose_is_in_the_example(variable: str) -> None:
    assert re.search(rf"^#?{variable}=", ENV_EXAMPLE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("compose", [COMPOSE, HA], ids=["compose", "ha"])
def test_every_container_is_held_down(compose: str) -> None:
    containers = len(re.findall(r"^    image: ", compose, re.MULTILINE)) - compose.count("    <<: *service")
    for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]', "restart: unless"):
        assert compose.count(line) == containers + 1, line
    assert compose.count("logging: *logging") == containers


def test_stopping_takes_longer_than_the_drain() -> None:
    needed = Settings().drain_timeout + CLEANUP
    for text in (COMPOSE, HA):
        assert {int(found) for found in re.findall(r"\$\{STOP_GRACE:-(\d+)s\}", text)} == {100}
    kubernetes = (DEPLOY / "kubernetes" / "base" / "deployment.yaml").read_text("utf-8")
    unit = (DEPLOY / "systemd" / "chat-service@.service").read_text("utf-8")
    graces = re.findall(r"(?:terminationGracePeriodSeconds: |TimeoutStopSec=)(\d+)", kubernetes + unit)
    assert [float(grace) > needed for grace in [*graces, "100"]] == [True] * 3


def test_nginx_takes_bodies_as_large_as_the_services() -> None:
    text = (DEPLOY / "nginx" / "server.conf").read_text("utf-8")
    assert f"client_max_body_size {Settings().max_body_mb}m;" in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_permissions_least(path: Path) -> None:
    text = path.read_text("utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert "\npermissions:\n  contents: read\n" in text
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


def test_all_up_to_the_provider_is_common_to_the_images() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    common = text.partition("AS common\n")[2].partition("\nFROM ")[0]
    assert "PROVIDER" not in common
    assert "ENTRYPOINT [" in common
    assert "FROM common\nARG PROVIDER\n" in text
    assert not re.search(r"^(CMD|ENTRYPOINT) [^\[]", text, re.MULTILINE)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
def test_the_kubernetes_example_can_be_built() -> None:
    command = ["kubectl", "kustomize", "deploy/kubernetes/example"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text.count("enableServiceLinks: false") == text.count("containers:")
    assert text.count("readOnlyRootFilesystem: true") == text.count("containers:")
    budgets = [found for found in text.split("\n---\n") if "kind: PodDisruptionBudget" in found]
    # One that selects nothing protects nothing.
    assert budgets
    assert all(re.search("selector:\n +matchLabels:\n +app", budget) for budget in budgets)
