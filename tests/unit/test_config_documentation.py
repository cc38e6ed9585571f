"""config/default.toml documents the configuration: the same keys, the same defaults, a comment on each; and the layers
above it, as its head describes them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hseie.config import Config, keys, masked
from hseie.config_load import load
from hseie.errors import ConfigError, ExitCode

FOLDER = Path(__file__).parents[2] / "config"
DEFAULT = FOLDER / "default.toml"
DECLARED = dict(keys(Config()))

# A value for each type of key that is not its default, as text in the environment and as it is understood.
OTHER: dict[type, tuple[str, Any]] = {
    str: ("elsewhere", "elsewhere"),
    int: ("1234", 1234),
    float: ("17.5", 17.5),
    bool: ("true", True),
    list: ("https://a.example, http://b.example:81", ["https://a.example", "http://b.example:81"]),
    dict: ("METER_B*=register, METER_B7=interval", {"METER_B*": "register", "METER_B7": "interval"}),
}
CHOICES = {
    "postgres.url": "postgresql://somebody@localhost/readings",
    "log.level": "debug",
    "log.format": "json",
    "auth.mode": "keys",
    "tls.client_certificates": "optional",
    "tls.client_subject": "any",
    "ingest.ack": "commit",
    "writer.lost_journal": "replace",
    "postgres.migrate": "never",
    "device.energy": "register",
    "retention.then": "drop",
}
# Keys for which those would be out of range, or in conflict with the default of another.
IN_RANGE = {
    "http.acceptors": 3,
    "http.body_bytes_max": 4096,
    "http.bodies_bytes_max": 99_000_000,
    "ingest.frames_in_flight_max": 9,
    "ingest.frame_bytes_max": 33_000_000,
    "ingest.past_max_days": 300,
    "analytics.alert_coverage_min": 0.25,
    "writer.shards": 5,
    "writer.gathering_bytes_max": 99_000_000,
    "writer.journal_bytes_max": 999_000_000,
    "writer.journal_low_water_pct": 75,
    "maintenance.partitions_ahead_days": 9,
    "supervisor.heartbeat_timeout_ms": 4321,
}
# What a key cannot be given without.
PARTNERS = {
    "tls.certificate": ("tls.key",),
    "tls.key": ("tls.certificate",),
    "tls.client_ca": ("tls.certificate", "tls.key"),
}


def flat(file: Path) -> dict[str, Any]:
    """Dotted key to value of a file, in its order."""
    sections = tomllib.loads(file.read_text(encoding="utf-8"))
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def other(key: str) -> tuple[str, Any]:
    """A valid value of a key that is not its default: as text, and as understood."""
    if key in CHOICES:
        return CHOICES[key], CHOICES[key]
    if key in IN_RANGE:
        return str(IN_RANGE[key]), IN_RANGE[key]
    return OTHER[type(DECLARED[key])]


def in_toml(value: Any) -> str:
    return msgspec.json.encode(value).decode().replace('":', '"=')


def variable(key: str) -> str:
    return f"HSEIE_{key.replace('.', '__').upper()}"


# --- the documentation ------------------------------------------------------------------------------------------------


def test_the_file_has_every_key_and_every_default_in_the_order_of_the_declaration() -> None:
    assert list(flat(DEFAULT).items()) == list(DECLARED.items())


def test_the_types_of_the_defaults_are_written_as_they_are_declared() -> None:
    assert {key: type(value) for key, value in flat(DEFAULT).items()} == {k: type(v) for k, v in DECLARED.items()}


def test_the_file_is_a_configuration_and_changes_nothing() -> None:
    assert load(DEFAULT).config == Config()


def test_every_key_has_a_comment_above_it_or_above_its_group() -> None:
    bare = []
    documented = False
    for line in DEFAULT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            documented = True
        elif not line.strip() or line.startswith("["):
            documented = False
        elif not documented:
            bare.append(line)
    assert bare == []


def test_a_unit_in_a_name_is_explained_in_the_comment() -> None:
    words = {"_ms": "illisecond", "_s": "econds", "_bytes_max": "ytes", "_days": "ay", "_pct": "ercent"}
    comment = ""
    above = "#"
    unexplained = []
    for line in DEFAULT.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = line if not above.startswith("#") else comment + line
        elif " = " in line:
            name = line.split(" = ")[0]
            unit = next((word for suffix, word in words.items() if name.endswith(suffix)), "")
            unexplained += [name] if unit not in comment else []
        above = line
    assert unexplained == []


def test_no_line_of_the_file_is_wider_than_a_terminal() -> None:
    assert [line for line in DEFAULT.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


def test_every_other_file_is_a_configuration_and_says_only_what_differs() -> None:
    files = sorted(FOLDER.glob("*.toml"))
    assert DEFAULT in files
    for profile in (file for file in files if file != DEFAULT):
        assert load(profile).config != Config()
        assert [key for key, value in flat(profile).items() if value == DECLARED[key]] == []


# --- the layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", DECLARED)
def test_the_environment_reaches_every_key(key: str) -> None:
    value = other(key)[1]
    given = (key, *PARTNERS.get(key, ()))
    found = load(environ={variable(name): other(name)[0] for name in given})
    assert dict(keys(found.config))[key] == value != DECLARED[key]
    origins = {name: f"environment {variable(name)}" for name in given}
    assert found.origins == {**dict.fromkeys(DECLARED, "default"), **origins}


@pytest.mark.parametrize("key", DECLARED)
def test_a_file_reaches_every_key(key: str, tmp_path: Path) -> None:
    value = other(key)[1]
    section, name = key.split(".")
    names = (name, *(partner.split(".")[1] for partner in PARTNERS.get(key, ())))  # all of one section
    lines = [f"{name} = {in_toml(other(f'{section}.{name}')[1])}\n" for name in names]
    file = tmp_path / "mine.toml"
    file.write_text(f"[{section}]\n{''.join(lines)}")
    found = load(file)
    assert dict(keys(found.config))[key] == value
    assert found.origins[key] == f"file {file}"


def test_each_layer_wins_over_the_one_below(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[http]\nport = 4000\n")
    below = {"PORT": "5000"}
    above = {**below, "HSEIE_HTTP__PORT": "6000"}
    ports = [
        load().config.http.port,
        load(file).config.http.port,
        load(file, below).config.http.port,
        load(file, above).config.http.port,
        load(file, above, {"http.port": 7000}).config.http.port,
    ]
    assert ports == [3000, 4000, 5000, 6000, 7000]
    assert load(file, above, {"http.port": 7000}).origins["http.port"] == "command line"


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://u:p@h/d\n")
    for name in ("HSEIE_POSTGRES__URL_FILE", "DATABASE_URL_FILE"):
        found = load(environ={name: str(secret)})
        assert found.config.postgres.url == "postgresql://u:p@h/d"
        assert found.origins["postgres.url"] == f"environment {name}"


def test_a_secret_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"HSEIE_POSTGRES__URL_FILE"):
        load(environ={"HSEIE_POSTGRES__URL_FILE": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"PGHOST": "db"}, "postgresql://postgres@db:5432/postgres"),
        (
            {"PGHOST": "db", "PGPORT": "6432", "PGUSER": "me", "PGPASSWORD": "a/b@c", "PGDATABASE": "energy"},
            "postgresql://me:a%2Fb%40c@db:6432/energy",
        ),
        ({"PGUSER": "me"}, ""),  # without a host it is not about us
        (
            {"PGHOST": "db", "DB_HOST": "old", "DB_USERNAME": "me", "DB_NAME": "energy"},
            "postgresql://me@old:5432/energy",
        ),
        ({"DB_HOST": "old", "DATABASE_URL": "postgresql://new/energy"}, "postgresql://new/energy"),
        ({"DATABASE_URL": "postgresql://a/b", "HSEIE_POSTGRES__URL": "postgresql://c/d"}, "postgresql://c/d"),
    ],
)
def test_the_names_that_others_use_for_the_database_are_understood(environ: dict[str, str], url: str) -> None:
    assert load(environ=environ).config.postgres.url == url


@pytest.mark.parametrize(("queue", "ack"), [("true", "journal"), ("false", "commit"), ("0", "commit"), ("", "journal")])
def test_the_first_hseies_switch_for_its_queue_is_understood(queue: str, ack: str) -> None:
    assert load(environ={"USE_QUEUE": queue}).config.ingest.ack == ack


def test_variables_of_other_programs_are_left_alone() -> None:
    environ = {"HSEIE_CONFIG": "x", "HSEIE_PG_BINDIR": "/x", "HTTP__PORT": "1", "PATH": "/bin"}
    assert load(environ=environ).config == Config()


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("writer.flush_intervall_ms", "writer.flush_interval_ms"),
        ("http.accepters", "http.acceptors"),
        ("postgres.uri", "postgres.url"),
        ("write.shards", "writer.shards"),
    ],
)
def test_an_unknown_key_is_an_error_that_says_what_was_meant(wrong: str, meant: str, tmp_path: Path) -> None:
    section, name = wrong.split(".")
    file = tmp_path / "mine.toml"
    file.write_text(f"[{section}]\n{name} = 1\n")
    with pytest.raises(ConfigError, match=rf"unknown key {re.escape(wrong)} .*did you mean {re.escape(meant)}\?"):
        load(file)
    with pytest.raises(ConfigError, match=rf"environment {variable(wrong)}.*did you mean {re.escape(meant)}\?"):
        load(environ={variable(wrong): "1"})


def test_an_unknown_key_that_resembles_none_gets_no_guess() -> None:
    with pytest.raises(ConfigError, match="`hseie config show` lists all keys"):
        load(environ={"HSEIE_ZZZ__QQQ": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\nport = 70000\n", r"^http\.port \(file .*<= 65535"),
        ('[http]\nport = "many"\n', r"^http\.port"),
        ("[http]\nport = true\n", r"^http\.port"),
        ("[writer]\nshards = 0\n", r"^writer\.shards .*>= 1"),
        ('[ingest]\nack = "maybe"\n', r"^ingest\.ack"),
        ("port = 3000\n", "port stands outside any section"),
        ("[http\n", "is not TOML"),
        ('[tls]\ncertificate = "a.pem"\n', "give both files, or neither"),
        ('[tls]\nkey = "a.pem"\n', "give both files, or neither"),
        ('[tls]\nclient_ca = "a.pem"\n', "tls.client_ca needs tls.certificate"),
        ("[supervisor]\nheartbeat_ms = 14000\n", "supervisor.heartbeat_timeout_ms must be at least four times"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(file)
    assert caught.value.exit_code == ExitCode.CONFIG


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[http]\nprot = 1\nport = 70000\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {"HSEIE_WRITER__SHARDS": "0"})
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["unknown", "http.port", "writer.shards"]
    file.write_text("[supervisor]\nheartbeat_ms = 14000\nrestart_delay_ms = 20000\n")
    with pytest.raises(ConfigError, match=r"(?s)heartbeat_timeout_ms must be.*restart_delay_max_ms must not"):
        load(file)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load(tmp_path / "absent.toml")


def test_a_password_is_hidden_from_people() -> None:
    assert masked("postgresql://me:se%40cret@db:5432/energy") == "postgresql://me:***@db:5432/energy"
    assert masked("postgresql://db/energy") == "postgresql://db/energy"


def test_an_address_of_another_database_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="must be like postgresql://"):
        load(environ={"DATABASE_URL": "mysql://root@localhost/x"})


def test_an_empty_variable_says_nothing() -> None:
    assert load(environ={"HSEIE_NODE__DATA": ""}) == load()


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "*",
            "null",
            "fleet.example",
            "https://fleet.example/",
            "https://fleet.example/page",
            "HTTPS://fleet.example",
        ),
        *("https://Fleet.example", "https://fleet.example:443", "http://fleet.example:80", "ftp://fleet.example"),
        *("https://*.fleet.example", "https://user@fleet.example", "https://fleet.example:0", "https://"),
    ],
)
def test_an_origin_that_no_browser_ever_sends_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.cors_origins must hold exact origins"):
        load(overrides={"http.cors_origins": ["https://fleet.example", origin]})


def test_origins_as_browsers_send_them_are_taken() -> None:
    origins = ["https://fleet.example", "http://localhost:8080", "http://[::1]:3000", "https://10.0.0.1:80"]
    assert load(overrides={"http.cors_origins": origins}).config.http.cors_origins == origins
