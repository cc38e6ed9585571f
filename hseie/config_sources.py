"""Where values of the configuration are set: one file, the environment above it, the command line above that."""

import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hseie.errors import ConfigError


@dataclass(frozen=True)
class Value:
    """A value for a key that may or may not exist, and where it was set."""

    key: str  # dotted
    value: Any
    origin: str


def values(
    file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any], known: Iterable[str]
) -> Iterator[Value]:
    """Yield what is set anywhere; of several for a key the last one counts.

    Raises ConfigError for what cannot be read. `known` are the dotted keys there are.
    """
    known = dict.fromkeys(known)
    if file is not None:
        yield from _from_file(file, tuple(dict.fromkeys(key.split(".")[0] for key in known)))
    yield from _from_first_hseie(environ)
    yield from _from_environment(environ, known)
    for key, value in overrides.items():
        yield Value(key, value, "command line")


def _from_file(file: Path, sections: tuple[str, ...]) -> Iterator[Value]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    for section, members in document.items():
        if not isinstance(members, dict):
            raise ConfigError(f"{file}: {section} stands outside any section; sections are {', '.join(sections)}")
        for name, value in members.items():
            yield Value(f"{section}.{name}", value, f"file {file}")


def _from_environment(environ: Mapping[str, str], known: Container[str]) -> Iterator[Value]:
    for name, value in sorted(environ.items()):
        if not name.startswith("HSEIE_") or "__" not in name or not value:
            continue
        key = name.removeprefix("HSEIE_").lower().replace("__", ".", 1)
        if key.endswith("_file") and key not in known:  # a key that ends so itself, as auth.keys_file, holds a path
            yield Value(key.removesuffix("_file"), _secret(name, value), f"environment {name}")
        else:
            yield Value(key, value, f"environment {name}")


def _from_first_hseie(environ: Mapping[str, str]) -> Iterator[Value]:
    """Names that other programs and the first HSEIE use; DATABASE_URL wins over DB_*, that over PG*."""
    if port := environ.get("PORT"):
        yield Value("http.port", port, "environment PORT")
    if queue := environ.get("USE_QUEUE"):
        ack = "commit" if queue.strip().lower() in ("false", "0", "no", "off") else "journal"
        yield Value("ingest.ack", ack, "environment USE_QUEUE")
    for names in (
        ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"),
        ("DB_HOST", "DB_PORT", "DB_USERNAME", "DB_PASSWORD", "DB_NAME"),
    ):
        host, port, user, password, database = (environ.get(name, "") for name in names)
        if host:
            credentials = quote(user or "postgres", safe="") + (f":{quote(password, safe='')}" if password else "")
            place = f"{quote(host, safe='')}:{port or 5432}/{quote(database or user or 'postgres', safe='')}"
            yield Value("postgres.url", f"postgresql://{credentials}@{place}", f"environment {names[0]}")
    if url := environ.get("DATABASE_URL"):
        yield Value("postgres.url", url, "environment DATABASE_URL")
    elif path := environ.get("DATABASE_URL_FILE"):
        yield Value("postgres.url", _secret("DATABASE_URL_FILE", path), "environment DATABASE_URL_FILE")


def _secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the file {path} that {name} names: {error.strerror}") from None
