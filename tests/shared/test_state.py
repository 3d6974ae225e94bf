"""`STATE_FILE`: what must outlive a restart."""

import asyncio
import shutil
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from shared import state
from shared.settings import SettingsError
from shared.state import CredentialFile


def opened(path: Path, service: str = "toy") -> CredentialFile:
    file = CredentialFile(str(path), service)
    file.load()
    return file


def modes(folder: Path) -> dict[str, int]:
    return {item.name: stat.S_IMODE(item.stat().st_mode) for item in folder.iterdir()}


async def test_tokens_survive_a_restart_in_a_file_of_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file = opened(path)
    await file.put("d", "one")
    await file.put("d", "two")
    await file.put("e", "three")
    await file.drop("e", "three")
    await file.drop("d", "one")
    await file.drop("none", "one")
    again = opened(path)
    assert (again.get("d"), again.get("e")) == ("two", None)
    assert modes(tmp_path) == {"state.json": 0o600, "state.json.lock": 0o600}


async def test_without_a_file_they_are_in_memory() -> None:
    file = CredentialFile(None, "toy")
    file.load()
    await file.put("d", "one")
    assert file.get("d") == "one"
    await file.drop("d", "one")
    assert file.get("d") is None


async def test_services_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    toy, other = opened(path), opened(path, "other")
    await asyncio.gather(*(file.put(str(number), "x") for number in range(20) for file in (toy, other)))
    for service in ("toy", "other"):
        again = opened(path, service)
        assert all(again.get(str(number)) == "x" for number in range(20))


async def test_instances_of_one_service_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first, second = opened(path), opened(path)
    await first.put("d", "one")
    await second.put("e", "two")
    await second.put("d", "newer")
    await first.put("f", "three")
    again = opened(path)
    assert [again.get(name) for name in "def"] == ["newer", "two", "three"]


async def test_an_instance_that_knows_an_older_token_does_not_forget_the_newer_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    await opened(path).put("d", "one")
    first, second = opened(path), opened(path)
    await first.put("d", "two")
    await second.drop("d", "one")
    assert opened(path).get("d") == "two"
    assert second.get("d") is None
    await second.look("d")
    await second.look("none")
    assert (second.get("d"), second.get("none")) == ("two", None)


async def test_a_file_that_cannot_be_read_for_a_moment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    await opened(path, "other").put("d", "theirs")
    file = opened(path)
    read = Path.read_bytes

    def fails(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(Path, "read_bytes", fails)
        await file.put("d", "one")
        await file.look("e")
        with pytest.raises(SettingsError):
            opened(path)
        monkeypatch.setattr(Path, "read_bytes", read)
    assert [line["event"] for line in logs] == ["state_file_not_written", "state_file_not_read"]
    assert (opened(path, "other").get("d"), opened(path).get("d")) == ("theirs", None)
    # What the file has not is newer than what it has.
    await opened(path).put("d", "older")
    await file.look("d")
    assert file.get("d") == "one"
    await file.write()
    assert opened(path).get("d") == "one"


async def test_those_that_changed_longest_ago_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "TOKENS_MOST", 2)
    path = tmp_path / "state.json"
    file = opened(path)
    for name in ("d", "e", "d", "f"):
        await file.put(name, f"of {name}, {len(name)}")
        await file.drop("none", "one")
    await file.put("d", "newest")
    for kept in (file, opened(path)):
        assert [kept.get(name) is not None for name in "def"] == [True, False, True]


async def test_what_could_not_be_written_is_written_with_what_comes_next(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "state.json"
    file = opened(path)
    shutil.rmtree(folder)
    await file.put("d", "one")
    folder.mkdir()
    await file.put("e", "two")
    again = opened(path)
    assert (again.get("d"), again.get("e")) == ("one", "two")


async def test_it_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    file = opened(path)
    await file.put("d", "one")
    seen: list[bytes] = []
    replace = Path.replace

    def watched(self: Path, target: Any) -> Path:
        seen.append(path.read_bytes())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    await file.put("d", "two")
    assert [orjson.loads(content) for content in seen] == [{"toy": {"d": "one"}}]
    assert opened(path).get("d") == "two"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"toy": 1}', b'{"toy": {"d": 1}}', b"\xff"])
async def test_a_broken_file_is_said_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        file = opened(path)
        assert [line["event"] for line in logs] == ["state_file_not_read"]
        assert file.get("d") is None
        await file.put("d", "one")
    assert opened(path).get("d") == "one"


def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STATE_FILE takes a file that can be written"):
        opened(tmp_path / "missing" / "state.json")
    (tmp_path / "folder.lock").mkdir()
    with pytest.raises(SettingsError):
        opened(tmp_path / "folder")
    (tmp_path / "directory").mkdir()
    with pytest.raises(SettingsError):
        opened(tmp_path / "directory")


async def test_a_file_that_can_no_longer_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    file = opened(folder / "state.json")
    shutil.rmtree(folder)
    with structlog.testing.capture_logs() as logs:
        await file.put("d", "one")
    assert [line["event"] for line in logs] == ["state_file_not_written"]
    assert file.get("d") == "one"
