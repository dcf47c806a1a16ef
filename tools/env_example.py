"""Writes `.env.example` anew from the declarations in scripts/settings.py: `python -m tools.env_example`."""

from __future__ import annotations

from textwrap import wrap

from scripts.settings import PROJECT_ROOT, Settings

HEAD = """\
# Copy to .env and take away the # where you want another value than the default. Everything is optional.
# A variable that is set in the shell wins over this file, and a command-line option over both.
# Relative paths start at the project root. Never commit .env: it may hold secrets.
"""


def env_example() -> str:
    """The text of `.env.example`: each variable with what it is for, and an example or its default."""
    return HEAD + "".join(_entry(name) for name in Settings.model_fields)


def _entry(name: str) -> str:
    field = Settings.model_fields[name]
    value = field.examples[0] if field.examples else field.default
    lines = wrap(field.description or "", 118)
    return "\n" + "".join(f"# {line}\n" for line in [*lines, f"{field.alias}={value}"])


if __name__ == "__main__":
    (PROJECT_ROOT / ".env.example").write_text(env_example(), encoding="utf-8")
