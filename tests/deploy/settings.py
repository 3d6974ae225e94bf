"""`python -m tests.deploy.settings`: write the services' settings into `deploy/.env.example`."""

from pathlib import Path

from shared.settings import describe

ENV_EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / ".env.example"
MARKS = ("# >>> settings", "# <<< settings")
"""The lines between which the settings stand."""

FIXED = frozenset({"HOST", "PORT", "STATE_FILE", "REDIS_URL"})
"""Settings that the compose files give a container themselves; the file tells of them further up."""


def block() -> str:
    """Give the lines of every setting a user may choose: its help, and its name with the default."""
    lines = [f"\n# {said}\n#{name}={default}\n" for name, default, said in describe() if name not in FIXED]
    return "".join(lines)


def written(text: str) -> str:
    """Give the file's text with the settings as they are now; raise `ValueError` when a mark is missing."""
    before, begin, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not begin or not end:
        raise ValueError(f"{ENV_EXAMPLE.name} needs the lines {' and '.join(MARKS)}")
    return f"{before}{begin}\n{block()}\n{end}{after}"


def main() -> None:
    """Rewrite the file."""
    ENV_EXAMPLE.write_text(written(ENV_EXAMPLE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
