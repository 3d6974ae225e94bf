from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import Settings, SettingsError, describe, read_site
from shared.terms import Site


def read(**environ: str) -> Settings:
    return Settings.read(environ, "glm")


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.read({}, "glm") == Settings()
    assert Settings().thinking == "reasoning"
    assert Settings().slots is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "127.0.0.1", "127.0.0.1"),
        ("port", "0", 0),
        ("port", " 65535 ", 65535),
        ("account_wait", "0", 0.0),
        ("expired_cooldown", "90", 90.0),
        ("slots", "3", 3),
        ("retries", "0", 0),
        ("retry_backoff", "0.5", 0.5),
        ("head_wait", "2.5", 2.5),
        ("upstream_gateway", "http://127.0.0.1:9000/", "http://127.0.0.1:9000"),
        ("upstream_gateway", "https://relay.example/base", "https://relay.example/base"),
        ("outbound_proxy", "http://user:fake-word@proxy.example:3128", "http://user:fake-word@proxy.example:3128"),
        ("upstream_idle_timeout", "0.2", 0.2),
        ("max_body_mb", "1", 1),
        ("max_attachment_mb", "5", 5),
        ("allow_private_urls", "1", True),
        ("allow_private_urls", "Off", False),
        ("thinking", "INLINE", "inline"),
        ("references", "hidden", "hidden"),
        ("keep_conversations", "true", True),
        ("state_file", "state/glm.json", "state/glm.json"),
        ("redis_url", "redis://:fake-word@valkey.example:6379/1", "redis://:fake-word@valkey.example:6379/1"),
        ("redis_url", "rediss://valkey.example?ssl_ca_certs=/ca.pem", "rediss://valkey.example?ssl_ca_certs=/ca.pem"),
        ("redis_url", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis_url", "rediss://h?ssl_cert_reqs=none&db=2", "rediss://h?ssl_cert_reqs=none&db=2"),
        ("drain_timeout", "5", 5.0),
        ("log_level", "DEBUG", "debug"),
        ("log_messages", "yes", True),
        ("event_loop", "asyncio", "asyncio"),
    ],
)
def test_every_variable_is_read_in_its_type(name: str, text: str, value: Any) -> None:
    found = getattr(read(**{name.upper(): text}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "takes"),
    [
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "-1", "a whole number"),
        ("PORT", "80.5", "a whole number"),
        ("PORT", "http", "a whole number"),
        ("ACCOUNT_WAIT", "-1", "seconds from 0 to 3600"),
        ("ACCOUNT_WAIT", "nan", "seconds"),
        ("ACCOUNT_WAIT", "inf", "seconds"),
        ("UPSTREAM_IDLE_TIMEOUT", "0", "seconds from 0.01"),
        ("SLOTS", "0", "a whole number from 1"),
        ("RETRIES", "-2", "a whole number from 0"),
        ("MAX_BODY_MB", "0", "a whole number from 1"),
        ("THINKING", "loud", "one of reasoning, inline, hidden"),
        ("EVENT_LOOP", "trio", "one of uvloop, asyncio"),
        ("LOG_MESSAGES", "perhaps", "1 or 0"),
        ("REDIS_URL", "valkey.example:6379", "an address such as redis://host:6379/0"),
        ("REDIS_URL", "http://valkey.example", "an address"),
        ("REDIS_URL", "redis://", "an address"),
        ("REDIS_URL", "redis://valkey.example:0", "an address"),
        ("REDIS_URL", "redis://valkey.example:x", "an address"),
        ("REDIS_URL", "redis://valkey.example?speed=1", "an address"),
        ("REDIS_URL", "redis://valkey.example?db", "an address"),
        ("REDIS_URL", "redis://valkey.example/main", "an address"),
        ("REDIS_URL", "redis://valkey.example/0/1", "an address"),
        ("REDIS_URL", "unix://", "an address"),
        ("REDIS_URL", "redis://valkey.example?db=²", "an address"),
        ("REDIS_URL", "redis://valkey.example?db=1&db=2", "an address"),
        ("REDIS_URL", "redis://valkey.example?ssl_ca_certs=/ca.pem", "an address"),
        ("REDIS_URL", "rediss://valkey.example?ssl_cert_reqs=maybe", "an address"),
        ("REDIS_URL", "unix:///run/redis.sock?db=x", "an address"),
        ("UPSTREAM_GATEWAY", "relay.example", "an address such as http://host:port"),
        ("UPSTREAM_GATEWAY", "ftp://relay.example", "an address"),
        ("UPSTREAM_GATEWAY", "http://relay.example?x=1", "an address"),
        ("UPSTREAM_GATEWAY", "http://relay.example:99999", "an address"),
        ("OUTBOUND_PROXY", "socks5://user:fake-word@h:1", "an address such as http://host:port"),
        ("OUTBOUND_PROXY", "http://[fake-word", "an address"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "GLM_"])
def test_a_bad_value_names_the_variable_and_what_it_takes_but_not_the_value(
    prefix: str, name: str, text: str, takes: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{prefix + name: text})
    message = str(caught.value)
    assert message.startswith(f"{prefix}{name} takes {takes}")
    assert "fake-word" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_providers_own_variable_wins() -> None:
    environ = {"PORT": "1", "GLM_PORT": "2", "STEP_PORT": "3"}
    assert Settings.read(environ, "glm").port == 2
    assert Settings.read(environ, "step").port == 3
    assert Settings.read(environ, "kimi").port == 1


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_value_is_absent(empty: str) -> None:
    assert read(PORT=empty).port == 8000
    assert read(GLM_PORT=empty, PORT="9").port == 9


def test_lists_are_split_trimmed_and_merged() -> None:
    settings = read(ACCOUNTS=" t-one, t-two,,t-one ,", API_KEYS="k-one\nk-two,\n")
    assert settings.accounts == ("t-one", "t-two")
    assert settings.api_keys == ("k-one", "k-two")


@given(st.lists(st.text("abc -.@", min_size=1).filter(str.strip)))
def test_a_list_is_what_was_joined(items: list[str]) -> None:
    trimmed = tuple(dict.fromkeys(item.strip() for item in items))
    assert read(API_KEYS=" , ".join(items)).api_keys == trimmed


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "accounts").write_text("t-one\n t-two \n")
    (tmp_path / "keys").write_text("k-one\n")
    settings = read(GLM_ACCOUNTS_FILE=str(tmp_path / "accounts"), API_KEYS_FILE=str(tmp_path / "keys"))
    assert settings.accounts == ("t-one", "t-two")
    assert settings.api_keys == ("k-one",)


@pytest.mark.parametrize(
    ("names", "winner"),
    [
        (("API_KEYS", "API_KEYS_FILE"), "API_KEYS"),
        (("API_KEYS", "GLM_API_KEYS_FILE"), "GLM_API_KEYS_FILE"),
        (("GLM_API_KEYS", "GLM_API_KEYS_FILE", "API_KEYS"), "GLM_API_KEYS"),
    ],
)
def test_the_variable_beats_its_file_and_the_provider_beats_all(
    tmp_path: Path, names: tuple[str, ...], winner: str
) -> None:
    environ = {}
    for name in names:
        (tmp_path / name).write_text(name)
        environ[name] = str(tmp_path / name) if name.endswith("_FILE") else name
    assert Settings.read(environ, "glm").api_keys == (winner,)


def test_an_unreadable_file_is_named_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "fake-word", tmp_path / "binary", tmp_path):
        with pytest.raises(SettingsError, match=r"^ACCOUNTS_FILE takes the path of a readable text file") as caught:
            read(ACCOUNTS_FILE=str(path))
        assert "fake-word" not in str(caught.value)


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9")
    assert read(PORT_FILE=str(tmp_path / "port")).port == 8000


def test_accounts_without_keys_are_refused() -> None:
    with pytest.raises(SettingsError, match="ACCOUNTS needs API_KEYS") as caught:
        read(ACCOUNTS="fake-word")
    assert "fake-word" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(read(ACCOUNTS="fake-a", API_KEYS="fake-b", OUTBOUND_PROXY="http://u:fake-c@h:1"))
    assert "fake-" not in shown
    assert "port=8000" in shown


def test_every_variable_is_described() -> None:
    rows = {name: (default, text) for name, default, text in describe()}
    assert list(rows) == [item.name.upper() for item in attrs.fields(Settings)]
    assert all(text.endswith(".") for _, text in rows.values())
    assert rows["PORT"][0] == "8000"
    assert rows["ACCOUNT_WAIT"][0] == "60"
    assert rows["ALLOW_PRIVATE_URLS"][0] == "0"
    assert rows["ACCOUNTS"][0] == rows["SLOTS"][0] == ""
    assert rows["THINKING"][0] == "reasoning"


def test_the_described_defaults_are_what_is_read() -> None:
    assert Settings.read({name: default for name, default, _ in describe()}, "glm") == Settings()


@frozen
class FakeSite(Site):
    hosts: frozenset[str] = frozenset({"fake.example"})
    base: str = "https://fake.example"
    sign_secret: str = "obviously-fake"
    chat_path: str = "/chat"
    version: int = 3
    factor: float = 0.5
    strict: bool = False
    dialect: Literal["old", "new"] = "new"
    region: str | None = None
    modes: tuple[str, ...] = ("a",)
    headers: dict[str, str] = field(factory=dict)
    names: Mapping[str, str] = field(factory=dict)
    body: Mapping[str, Any] = field(factory=dict)


def test_a_site_has_its_defaults() -> None:
    assert read_site(FakeSite, {"SIGN_SECRET": "x", "STEP_VERSION": "9", "GLM_VERSION": " "}, "glm") == FakeSite()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hosts", "a.example, fake.example", frozenset({"a.example", "fake.example"})),
        ("base", "https://fake.example/v2", "https://fake.example/v2"),
        ("sign_secret", "other", "other"),
        ("chat_path", "/v2/chat", "/v2/chat"),
        ("version", "4", 4),
        ("factor", "1.5", 1.5),
        ("strict", "1", True),
        ("dialect", "old", "old"),
        ("region", "cn", "cn"),
        ("modes", "b,c", ("b", "c")),
        ("headers", '{"X-App": "1.2, 3"}', {"X-App": "1.2, 3"}),
        ("names", '{"a": "b"}', {"a": "b"}),
        ("body", '{"a": {"b": [1]}}', {"a": {"b": [1]}}),
    ],
)
def test_every_field_of_a_site_can_be_set(name: str, text: str, value: Any) -> None:
    site = read_site(FakeSite, {f"GLM_{name.upper()}": text}, "glm")
    assert site == attrs.evolve(FakeSite(), **{name: value})
    assert type(getattr(site, name)) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VERSION", "three"),
        ("STRICT", "maybe"),
        ("DIALECT", "newest"),
        ("HEADERS", "X-App: 1"),
        ("HEADERS", '["X-App"]'),
        ("BODY", "[]"),
        ("FACTOR", "nan"),
        ("FACTOR", "-1"),
        ("VERSION", "-4"),
        ("SIGN_SECRET", "a\nb"),
        ("CHAT_PATH", "chat"),
        ("CHAT_PATH", "/chat\x00"),
        ("HEADERS", '{"X-App": "1\\nX-Other: 2"}'),
        ("HEADERS", '{"X-App\\n": "1"}'),
        ("BASE", "nonsense"),
        ("BASE", "https://[fake"),
        ("BASE", "ftp://fake.example"),
        ("BASE", "https://fake.example:99999"),
        ("BASE", "https://other.example"),
        ("HOSTS", "other.example"),
        ("HEADERS", '{"X-App": 1}'),
    ],
)
def test_a_bad_field_of_a_site_is_named(name: str, text: str) -> None:
    named = "BASE" if name == "HOSTS" else name
    with pytest.raises(SettingsError, match=rf"^GLM_{named} takes "):
        read_site(FakeSite, {f"GLM_{name}": text}, "glm")
