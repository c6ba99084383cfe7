"""The files that start a team's processes: they can be read, and name services, options and commands that exist."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from compression.cli import app
from compression.team.members import team_of
from compression.team.policy import Role

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def options_exist(words: list[str]) -> None:
    """A command of ours exists, with every option of those words."""
    said = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert said.exit_code == 0, words
    assert all(word in said.output for word in words[1:] if word.startswith("--")), (words, said.output)


def test_the_composition_names_services_that_exist_and_publishes_the_app_alone() -> None:
    said = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = said["services"]
    assert set(services) == {"certificates", "scheduler", "worker", "database", "app"}
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service.get("secrets", ())) <= set(said["secrets"])
        assert set(service.get("networks", ())) <= set(said["networks"])
        named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert named <= set(said["volumes"]), name
        assert bool(service.get("ports")) == (name == "app")
        if name != "database":
            assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert services["app"]["ports"] == ["127.0.0.1:8501:8501"]
    assert services["app"]["environment"]["COMPRESSION_TEAM"] == "/run/secrets/team.yaml"
    for name in ("scheduler", "worker"):
        words = services[name]["command"]
        assert words[:3] == ["python", "-m", "compression"]
        options_exist(words[3:])
    assert "python -m compression certificates " in services["certificates"]["command"][2]
    options_exist(["certificates"])


def test_the_image_copies_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert "requirements.txt" in copied and "USER lab" in lines


def test_the_examples_are_what_the_app_reads() -> None:
    team = team_of(yaml.safe_load((DEPLOY / "team.example.yaml").read_text()))
    found = team.member("ann@example.org")
    assert found is not None and found.role is Role.ADMIN and team.member("eve@example.org") is None
    auth = tomllib.loads((DEPLOY / "secrets.example.toml").read_text())["auth"]
    assert {"redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url"} <= set(auth)


@pytest.mark.skipif(not shutil.which("sh"), reason="needs a shell")
def test_the_script_is_a_script_and_its_commands_exist() -> None:
    place = ROOT / "scripts" / "team-local.sh"
    assert place.stat().st_mode & 0o100
    subprocess.run(["sh", "-n", place], check=True, timeout=10)
    text = place.read_text().replace("\\\n", " ")
    commands = re.findall(r"-m compression ([^\n]*)", text)
    assert {words.split()[0] for words in commands} == {"certificates", "scheduler", "worker"}
    for words in commands:
        options_exist(words.split())
    assert (ROOT / "tests" / "oidc_provider.py").exists() and "-m tests.oidc_provider" in text
