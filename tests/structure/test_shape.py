"""Every service has one shape, and the papers say what is true."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from shared.app import application
from shared.provider import Provider, session_type
from shared.settings import Settings, describe, read_site
from shared.terms import Session, Site
from tests.bench.sites import SITES
from tests.services.test_garbage import DECODERS
from tests.simulators import discover

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.name for path in (ROOT / "services").iterdir() if any(path.glob("*.py")))
FILES = (
    "__init__.py",
    "__main__.py",
    "provider.py",
    "site.py",
    "session.py",
    "prompt.py",
    "reply.py",
    "refusals.py",
    "README.md",
)

FUNCTION_LINES = 40
MODULE_LINES = 400


def provider_of(name: str) -> type[Provider[Any, Any]]:
    module = importlib.import_module(f"services.{name}.provider")
    (found,) = {
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Provider) and value.__module__ == module.__name__
    }
    return found


def sources() -> list[Path]:
    return [path for folder in ("shared", "services") for path in sorted((ROOT / folder).rglob("*.py"))]


def tracked_texts() -> Iterator[tuple[str, str]]:
    skipped = re.compile(r"\.git|\.venv.*|__pycache__|\..*_cache|\.hypothesis")
    for path in sorted(ROOT.rglob("*")):
        ours = not any(map(skipped.fullmatch, path.relative_to(ROOT).parts))
        if ours and path.is_file() and path != Path(__file__).resolve():
            try:
                yield str(path.relative_to(ROOT)), path.read_text("utf-8")
            except UnicodeDecodeError:
                continue


def test_there_are_services() -> None:
    assert "glm" in SERVICES


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_has_the_files(self, name: str) -> None:
        folder = ROOT / "services" / name
        assert [file for file in FILES if not (folder / file).is_file()] == []

    def test_is_named_like_its_folder(self, name: str) -> None:
        assert provider_of(name).name == name

    def test_lists_its_models_once_with_the_default(self, name: str) -> None:
        provider = provider_of(name)
        ids = provider.models
        assert len(ids) == len(set(ids))
        assert provider.default_model in ids

    def test_has_a_site_that_needs_no_setting(self, name: str) -> None:
        site_type = provider_of(name).site_type
        assert issubclass(site_type, Site)
        assert read_site(site_type, {}, name) == site_type()  # type: ignore[call-arg]

    def test_every_field_of_its_site_can_be_set(self, name: str) -> None:
        site_type = provider_of(name).site_type
        host = min(site_type().hosts)  # type: ignore[call-arg]
        for field in attrs.fields(site_type):
            if field.type is str or field.type == "str":
                changed = {"path": "/changed", "base": f"https://{host}"}.get(field.name[-4:], "changed")
                site = read_site(site_type, {f"{name.upper()}_{field.name.upper()}": changed}, name)
                assert getattr(site, field.name) == changed

    def test_has_a_strict_simulator_of_every_host(self, name: str) -> None:
        simulators = [site for site in discover() if site.name == name]
        assert len(simulators) == 1
        assert read_site(provider_of(name).site_type, {}, name).hosts <= simulators[0].hosts

    def test_its_sessions_can_be_handed_on_as_json(self, name: str) -> None:
        made = session_type(provider_of(name))
        assert issubclass(made, Session)
        kinds = {field.name: field.type for field in attrs.fields(attrs.resolve_types(made))}
        assert [field for field, kind in kinds.items() if kind not in (str, int, float, bool)] == []

    def test_has_tests(self, name: str) -> None:
        assert list((ROOT / "tests" / "services" / name).glob("test_*.py"))
        assert name in DECODERS

    def test_can_be_measured(self, name: str) -> None:
        assert name in SITES

    def test_makes_an_application(self, name: str) -> None:
        provider = provider_of(name)
        app = application(provider, read_site(provider.site_type, {}, name), Settings())
        assert "/v1/chat/completions" in {resource.canonical for resource in app.router.resources()}

    def test_its_readme_names_every_model(self, name: str) -> None:
        text = (ROOT / "services" / name / "README.md").read_text("utf-8")
        assert [model for model in provider_of(name).models if f"`{model}`" not in text] == []

    def test_is_a_row_of_the_readme(self, name: str) -> None:
        assert f"| [{name}](services/{name}/README.md) |" in (ROOT / "README.md").read_text("utf-8")


def test_the_readme_has_every_setting_as_it_is() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = text.partition("<!-- settings -->")[2].partition("<!-- /settings -->")[0].strip()
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {said} |" for name, default, said in describe()]
    assert table == "\n".join(["| setting | default | |", "|---|---|---|", *rows])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_modules_can_be_seen_whole(path: Path) -> None:
    text = path.read_text("utf-8")
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert long == []
    assert text.count("\n") <= MODULE_LINES


def test_shared_names_no_provider() -> None:
    words = re.compile(rf"\b({'|'.join(SERVICES)})\b", re.IGNORECASE)
    found = [
        f"{path.name}: {match.group()}"
        for path in (ROOT / "shared").rglob("*.py")
        for match in words.finditer(path.read_text("utf-8"))
        # Which is an English word, too.
        if match.group().lower() != "step"
    ]
    assert found == []


def test_no_file_names_a_registry_or_a_place_of_one_machine() -> None:
    words = ("pypi" + ".org", "pythonhosted", "npmjs", "deb.debian", "/ro" + "ot/", "/wo" + "rk/", "/home" + "/")
    found = [f"{name}: {word}" for name, text in tracked_texts() for word in words if word in text]
    assert found == []
