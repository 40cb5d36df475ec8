"""The deployment files name what there is: settings, commands, images, keys of secrets.

Containers and clusters cannot be started by these tests. What can be told without them is: that
Docker Compose and Kubernetes can read the files, and that each name in them leads somewhere.
"""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from compose_spec import PyCompose

from rotoscope.cli import app
from rotoscope.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = {f"ROTOSCOPE_{name.upper()}" for name in Settings.model_fields}
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
KUBERNETES = "1.34"
PAGES = ("operations.md", "webhooks.md")
PATIENCE_S = 60


def resources() -> Iterator[dict[str, Any]]:
    for file in MANIFESTS:
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text())


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in resources() if each["kind"] == kind}


def pods() -> list[dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet", "Job")
    return [each["spec"]["template"]["spec"] for kind in kinds for each in of_kind(kind).values()]


def containers() -> list[dict[str, Any]]:
    return [one for pod in pods() for one in (*pod.get("initContainers", ()), *pod["containers"])]


def check_command(arguments: list[str]) -> None:
    """That the command line knows these words."""
    commands = COMMANDS
    for word in arguments:
        assert word in commands, f"rotoscope {' '.join(arguments)}"
        if not hasattr(commands[word], "commands"):
            return
        commands = commands[word].commands


def texts() -> Iterator[tuple[Path, str]]:
    pages = [*(ROOT / "docs/deploy").glob("*.md"), *map((ROOT / "docs").joinpath, PAGES)]
    for file in [*DEPLOY.rglob("*"), *pages]:
        if file.is_file():
            yield file, file.read_text()


def test_every_setting_that_is_named_exists() -> None:
    named = {
        (file.name, name)
        for file, text in texts()
        for name in re.findall(r"ROTOSCOPE_[A-Z_]+", text)
    }

    assert named
    assert not {(file, name) for file, name in named if name not in SETTINGS}


def test_every_command_that_is_named_exists() -> None:
    """In the pages, in the files' comments, in Dockerfile, units and manifests."""
    for file, text in texts():
        for line in re.findall(
            r"(?:bin/|run --rm web |`|exec web )rotoscope ([a-z][a-z -]*)", text
        ):
            check_command([word for word in line.split() if not word.startswith("-")][:2])
        if file.name == "Dockerfile":
            for command in re.findall(r'^CMD (\["[a-z]+"\])$', text, re.MULTILINE):
                check_command(json.loads(command))
    for unit in UNITS:
        program, *words = shlex.split(read_unit(unit)["Service"]["ExecStart"])
        assert program.endswith("/bin/rotoscope")
        check_command(words)
    for container in containers():
        if "rotoscope" in container["image"]:
            check_command(container.get("args", []))


def test_compose_reads_the_compose_file() -> None:
    """By an implementation of the Compose Specification that refuses unknown keys."""
    text = (DEPLOY / "compose.yaml").read_text()

    PyCompose.from_yaml(filled_in(text))
    with pytest.raises(ValueError, match="restrat"):
        PyCompose.from_yaml(filled_in(text.replace("restart:", "restrat:", 1)))


def filled_in(text: str) -> str:
    """With each variable's default, and a word for those without."""
    with_defaults = re.sub(r"\$\{[A-Z0-9_]+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{[A-Z0-9_]+(?::\?[^}]*)?\}", "given", with_defaults)


def test_compose_services_lead_to_each_other() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        mounted = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert mounted <= set(COMPOSE["volumes"])
        waits_for = service.get("depends_on", {}).items()
        for name, wait in waits_for:
            assert wait["condition"] != "service_healthy" or "healthcheck" in services[name]
    hosts = set(re.findall(r"(?:http://|@)([a-z]+):\d+", (DEPLOY / "compose.yaml").read_text()))
    assert hosts <= set(services), hosts


def test_compose_builds_what_the_dockerfile_has() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    for service in COMPOSE["services"].values():
        if build := service.get("build"):
            assert (
                DEPLOY / build["context"] / build["dockerfile"]
            ).resolve() == DEPLOY / "Dockerfile"
            assert build["target"] in targets


def test_the_dockerfile_copies_what_there_is() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text()
    for line in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.removeprefix('./')}\n" in allowed, source


def test_variables_of_compose_are_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (DEPLOY / "compose.yaml").read_text()))
    example = re.findall(r"^([A-Z0-9_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE)

    assert asked == set(example)


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_kubernetes_takes_the_manifests(file: Path) -> None:
    """By the schemas of its API; strict: unknown fields are refused."""
    for resource in yaml.safe_load_all(file.read_text()):
        if resource["kind"] != "Kustomization":
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_kustomize_lists_every_manifest_but_those_applied_by_hand() -> None:
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())

    by_hand = {"secret.example.yaml", "first-key.yaml"}
    names = {file.name for file in MANIFESTS} - {"kustomization.yaml", *by_hand}
    assert set(listed["resources"]) == names
    images = {one["image"] for one in containers() if one["image"].startswith("rotoscope")}
    assert {image["name"] for image in listed["images"]} == images


def test_manifests_lead_to_each_other() -> None:
    secrets, maps = of_kind("Secret"), of_kind("ConfigMap")
    for container in containers():
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["key"] in secrets[reference["name"]]["stringData"]
        for source in container.get("envFrom", ()):
            assert source["configMapRef"]["name"] in maps
    services = of_kind("Service")
    for service in services.values():
        assert service["spec"]["selector"] in labels_of_pods()
    text = "".join(file.read_text() for file in MANIFESTS)
    hosts = set(re.findall(r"(?:http://|@)([a-z0-9-]+)(?::\d+|$|/)", text, re.MULTILINE))
    assert hosts <= set(services), hosts


def labels_of_pods() -> list[dict[str, str]]:
    workloads = [*of_kind("Deployment").values(), *of_kind("StatefulSet").values()]
    return [each["spec"]["template"]["metadata"]["labels"] for each in workloads]


def test_volumes_that_are_mounted_exist() -> None:
    for workload in (*of_kind("Deployment").values(), *of_kind("StatefulSet").values()):
        spec = workload["spec"]
        pod = spec["template"]["spec"]
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())]
        there = {*claims, *(volume["name"] for volume in pod.get("volumes", ()))}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= there


def test_exactly_the_worker_asks_for_a_gpu() -> None:
    asking = [
        one["name"]
        for one in containers()
        if "nvidia.com/gpu" in one.get("resources", {}).get("limits", {})
    ]

    assert asking == ["worker"]
    assert "devices" in COMPOSE["services"]["worker"]["deploy"]["resources"]["reservations"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_name_an_environment_that_has_an_example(unit: Path) -> None:
    service = read_unit(unit)["Service"]

    name = Path(service["EnvironmentFile"]).name
    assert (DEPLOY / "systemd" / f"{name}.example").exists()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not on this machine")
    # It looks whether the program exists, which is not installed where it will be.
    program = tmp_path / "rotoscope"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/rotoscope/bin/rotoscope", str(program)))

    done = subprocess.run(
        [analyze, "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert unit.name.partition("@")[0] not in done.stderr


def read_unit(unit: Path) -> configparser.ConfigParser:
    # A unit may say the same name twice; the last one is enough here.
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser
