"""The rules of the house, so that nobody has to be told: floors, sizes, names, and where SQL lives.

Each test names what breaks its rule. An exception stands here with its reason, or it is none.
"""

import ast
import functools
import graphlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70

# From the ground up. A module imports from its own floor and from below; a name ending in a dot stands for a package.
FLOORS = (
    # Pure: no sockets, no loop, no processes.
    "__init__ access alert_answers answers client_certificate clock config config_change config_load "
    "config_sources csv_text durable errors failpoints frames histogram key_text logs metric_types metrics "
    "metrics_archive metrics_document metrics_writer openapi openapi_answers openapi_keys openapi_schemas "
    "pair_answers pair_file pair_plan pair_request pair_routes pairing problems rate_limit readings registers "
    "resources retry_after rollup_columns route route_parameters route_table tables rollup_settings",
    # One outside thing each: ZeroMQ, PostgreSQL, DuckDB, the embedded server, SQLite files, HTTP, processes, counters.
    "bus control database archive archive_check archive_export archive_files archive_look archive_pipe archive_restore "
    "journal_file books balance migrations audit late_readings dead_letters lost_journals pairs ports predecessors "
    "browsers web tls http_connection connections handshakes http_server keys_file key_store keys shared_counters "
    "rates admission process embedded.",
    # The processes of a node.
    "acceptor. writer. analytics. maintenance. supervisor.",
    # Wiring.
    "topology node",
    # The command line.
    "cli cli_archive cli_dead_letter cli_journal cli_keys cli_pairs commands demo journal_command journal_retire "
    "keys_command status __main__",
)
IMPURE = {"aiohttp", "asyncio", "asyncpg", "multiprocessing", "socket", "sqlite3", "subprocess", "uvloop", "zmq"}

# Who may import what is dangerous or foreign: one module an outside thing, or the folder that is about it.
IMPORTERS = {
    "zmq": r"hseie\.bus",
    "asyncpg": r"hseie\.database",
    "duckdb": r"hseie\.archive",
    "sqlite3": r"hseie\.(journal_file|key_store|keys|keys_file|writer\.journal|writer\.sqlite_file)",
    "subprocess": r"hseie\.embedded\.\w+",
    "multiprocessing": r"hseie\.(process|supervisor\.member)",
    "prometheus_client": r"hseie\.analytics\.exposition",
    "aiohttp": r"hseie\.(web|browsers|http_server|http_connection|connections|handshakes|acceptor\.\w+|analytics\.\w+)",
    "rich": r"hseie\.(tables|demo)|simulator\.\w+",
    "simulator": r"hseie\.(cli|demo)|simulator\.\w+",
    "hseie": r"hseie(\..+)?",
}

# A role is imported by itself and by these.
ROLE_IMPORTERS = {"hseie.topology": "builds the specifications of all", "hseie.node": "runs the supervisor"}

LATE_IMPORTS = {
    "hseie.archive": "duckdb is an extra, and takes a tenth of a second and 30 MB where nothing is archived",
    "hseie.cli": "a command's module is imported when the command runs: `hseie --help` is quick",
    "hseie.__main__": "spawned processes import it again and need nothing of it",
    "hseie.tables": "rich takes long to import, and output that is not for a terminal does without it",
}

NAMES_THAT_SAY_NOTHING = re.compile(r"(utils?|common|helpers?|managers?|handlers?|misc|lib|base|core)(\.py)?$")
CLASSES_THAT_SAY_NOTHING = re.compile(r"(Manager|Handler|Helper|Utils?)$")

SQL_IN_PYTHON = re.compile(
    r"\b(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\S+\s+SET\s|DELETE\s+FROM\s|MERGE\s+INTO\s|TRUNCATE\s"
    r"|(CREATE|ALTER|DROP)\s+(TABLE|INDEX|SCHEMA|VIEW|FUNCTION|TYPE)\s)"
)

# In pieces, so that this file does not break the rule it checks.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org"))]
FOLDERS = "/(?:" + "|".join(("home", "root", "Users", "work")) + r")/\w"


@dataclass(frozen=True)
class Module:
    """A module of hseie or simulator: its dotted name, its file and its syntax tree."""

    name: str
    file: Path
    tree: ast.Module

    def imports(self, *, top_level_only: bool = False) -> set[str]:
        """Dotted names of what is imported; for `from a import b`, a.b if that is a module of ours, else a."""
        nodes = _outside_functions(self.tree) if top_level_only else ast.walk(self.tree)
        return {name for node in nodes for name in _imported(node)}

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@functools.cache
def modules() -> dict[str, Module]:
    found = {}
    for package in ("hseie", "simulator"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, file, ast.parse(file.read_text(encoding="utf-8")))
    return found


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import in line {node.lineno}"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in _module_names() else str(node.module)


@functools.cache
def _module_names() -> set[str]:
    files = [file for package in ("hseie", "simulator") for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}


def floor_of(name: str) -> int | None:
    """Number of the floor of a module of hseie; None for one that stands on none."""
    short = name.removeprefix("hseie").removeprefix(".") or "__init__"
    for number, floor in enumerate(FLOORS):
        if short in floor.split() or f"{short.split('.')[0]}." in floor.split():
            return number
    return None


def role_of(name: str) -> str | None:
    """The package of a role's module."""
    parts = name.split(".")
    return parts[1] if parts[0] == "hseie" and len(parts) > 1 and f"{parts[1]}." in FLOORS[2].split() else None


def ours() -> list[Module]:
    return [module for module in modules().values() if module.name.split(".")[0] == "hseie"]


@functools.cache
def tracked_files() -> list[Path]:
    """What a commit would hold; where git does not tell, what is not obviously made by a tool."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        made = re.compile(r"(^|/)(\.(venv|git|[a-z]+_cache|hypothesis|benchmarks)|__pycache__|data|build|dist)(/|$)")
        files = [file for file in ROOT.rglob("*") if not made.search(file.relative_to(ROOT).parent.as_posix())]
        files += list((ROOT / "tests" / "unit" / "data").glob("*"))
    return sorted(file for file in files if file.is_file())


def written_by_us() -> list[Path]:
    return [file for file in tracked_files() if "vendor" not in file.parts]


def forbid(breaches: Iterable[str]) -> None:
    """Fail with all that breaks a rule, one a line."""
    found = sorted(breaches)
    assert not found, "\n" + "\n".join(found)


# --- floors -----------------------------------------------------------------------------------------------------------


def test_every_module_stands_on_a_floor() -> None:
    homeless = [module.name for module in ours() if floor_of(module.name) is None]
    forbid(homeless)


def test_every_name_in_the_floors_exists() -> None:
    names = {name for floor in FLOORS for name in floor.split()} - {"__init__"}
    forbid(name for name in names if f"hseie.{name.rstrip('.')}" not in modules())


def test_imports_run_down_only() -> None:
    up = [
        f"{module.name} imports {name}"
        for module in ours()
        for name in module.imports()
        if name.split(".")[0] == "hseie" and (floor_of(name) or 0) > (floor_of(module.name) or 0)
    ]
    forbid(up)


def test_the_ground_floor_is_pure() -> None:
    forbid(
        f"{module.name} imports {name}"
        for module in ours()
        if floor_of(module.name) == 0
        for name in module.imports()
        if name.split(".")[0] in IMPURE
    )


def test_no_role_imports_another() -> None:
    forbid(
        f"{module.name} imports {name}"
        for module in modules().values()
        for name in module.imports()
        if (role := role_of(name)) is not None and role != role_of(module.name) and module.name not in ROLE_IMPORTERS
    )


def test_the_node_knows_no_role_but_the_supervisor() -> None:
    roles = {role_of(name) for name in modules()["hseie.node"].imports()} - {None}
    assert roles == {"supervisor"}


@pytest.mark.parametrize("package", IMPORTERS)
def test_an_outside_thing_has_its_importers(package: str) -> None:
    importers = [
        module.name
        for module in modules().values()
        if any(name.split(".")[0] == package for name in module.imports())
        and not re.fullmatch(IMPORTERS[package], module.name)
    ]
    forbid(importers)


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module.name: module.imports(top_level_only=True) & modules().keys() for module in modules().values()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def test_imports_stand_at_the_top() -> None:
    late = [
        f"{module.name}:{node.lineno}"
        for module in modules().values()
        if module.name not in LATE_IMPORTS
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    forbid(late)


# --- sizes and names --------------------------------------------------------------------------------------------------


def test_a_module_can_be_read_in_one_go() -> None:
    sizes = {module.name: len(module.file.read_text(encoding="utf-8").splitlines()) for module in modules().values()}
    forbid(f"{name}: {lines} lines" for name, lines in sizes.items() if lines > MODULE_LINES_MAX)


def test_a_function_fits_on_a_screen() -> None:
    forbid(
        f"{module.name}.{function.name}: {lines} lines"
        for module in modules().values()
        for function in module.functions()
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    )


def test_names_of_files_say_what_is_in_them() -> None:
    parts = {part for file in written_by_us() for part in file.relative_to(ROOT).parts}
    forbid(part for part in sorted(parts) if NAMES_THAT_SAY_NOTHING.fullmatch(part))


def test_names_of_classes_say_what_they_are() -> None:
    forbid(
        f"{module.name}.{node.name}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and CLASSES_THAT_SAY_NOTHING.search(node.name)
    )


def test_a_package_does_nothing_when_it_is_imported() -> None:
    packages = [module for module in modules().values() if module.file.name == "__init__.py"]
    assert len(packages) > 5
    texts = {package.name: package.file.read_text(encoding="utf-8") for package in packages}
    assert re.fullmatch(r'__version__ = "[\w.]+"\n', texts.pop("hseie"))
    forbid(name for name, text in texts.items() if text)


def test_every_module_says_what_it_is_for() -> None:
    silent = [module.name for module in modules().values() if not ast.get_docstring(module.tree)]
    packages = {name for name, module in modules().items() if module.file.name == "__init__.py"}
    forbid({name for name in silent if not name.endswith("__main__")} - packages)


# --- SQL --------------------------------------------------------------------------------------------------------------


def _docstrings(tree: ast.Module) -> set[int]:
    """The identities of the nodes that are documentation: strings that stand alone."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def strings(module: Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string of a module that is not documentation."""
    documentation = _docstrings(module.tree)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_sql_lives_in_files() -> None:
    forbid(
        f"{module.name}:{line}: {text.strip()[:60]}"
        for module in modules().values()
        for line, text in strings(module)
        if SQL_IN_PYTHON.search(text)
    )


@pytest.mark.parametrize("folder", ["queries", "archive", "journal", "keys"])
def test_every_statement_is_used(folder: str) -> None:
    used = {text for module in ours() for _, text in strings(module)}
    files = {file.stem for file in (ROOT / "sql" / folder).glob("*.sql")}
    assert files
    forbid(files - used)


def test_every_statement_that_is_named_exists() -> None:
    named = {name for module in ours() for node in ast.walk(module.tree) for name in _statements(node)}
    files = {f"{file.parent.name}/{file.stem}" for file in (ROOT / "sql").glob("*/*.sql")}
    assert len(named) > 10
    forbid(named - files)


def _statements(node: ast.AST) -> Iterator[str]:
    """What a call names: statement("x"), sql("folder", "x"), and rows and row of analytics' reader."""
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func).split(".")
    texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    if called[-1] == "statement" or (called[-1] in ("rows", "row") and called[-2].endswith("reader")):
        yield from (f"queries/{text}" for text in texts[:1])
    elif called[-1] == "sql" and len(texts) == 2:
        yield f"{texts[0]}/{texts[1]}"


def test_every_query_says_what_it_answers() -> None:
    files = sorted((ROOT / "sql" / "queries").glob("*.sql"))
    silent = [file.name for file in files if not file.read_text(encoding="utf-8").startswith("--")]
    # What its name says whole is not said again.
    forbid(name for name in silent if not name.startswith("migration_"))


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(file.name for file in (ROOT / "sql" / "migrations").iterdir())
    assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]


# --- what must never be committed -------------------------------------------------------------------------------------


def test_no_file_names_a_machine_or_the_host_of_a_registry() -> None:
    pattern = re.compile("|".join([FOLDERS, *(rf"\b{re.escape(host)}\b" for host in HOSTS)]))
    found = []
    for file in written_by_us():
        text = file.read_text(encoding="utf-8", errors="replace")
        found += [f"{file.relative_to(ROOT)}: {hit.group()}" for hit in pattern.finditer(text)]
    forbid(found)


def test_text_files_end_their_lines_as_unix_does() -> None:
    wrong = []
    for file in written_by_us():
        content = file.read_bytes()
        if b"\0" not in content and content and (b"\r\n" in content or not content.endswith(b"\n")):
            wrong.append(str(file.relative_to(ROOT)))
    forbid(wrong)
