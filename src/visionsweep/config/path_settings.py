"""Settings that name files and folders, whose text is taken literally."""

import os
import re

from visionsweep.config.derived import keys
from visionsweep.errors import UserError
from visionsweep.text import shell


def refuse_split_path(before: str, text: str) -> None:
    """Refuse an argument that looks like the rest of a path with spaces in the one before it."""
    key, equals, _ = before.partition("=")
    if equals and key.lstrip("+") in keys(path=True) and "=" not in text and text[:1] not in "~-":
        whole = shell.word(f"{before} {text}")
        raise UserError(
            "no value; settings are key=value, and a space ends one",
            where=text,
            hint=f"Quote paths with spaces: {whole}",
        )


def is_path(key: str, value: str) -> bool:
    """Return whether the value of a setting names a file or folder.

    That of `model.weights` does if it has the suffix of a weights file.
    """
    own = key == "model.weights" and re.search(r"\.(safetensors|pth?|bin)\b", value)
    return key in keys(path=True) or bool(own)


def literal_path(text: str) -> str:
    """Quote the path in a setting so that Hydra takes it literally, with `~` expanded.

    `2024_01` is not a number then, nor is `null` null, or `a (1)` a call. A value in quotes stands
    for what they hold. Commas separate the values of a sweep unless such a path exists or the key
    cannot be swept. `${...}` stays an interpolation unless such a path exists.

    Returns:
        The setting, changed if its key is one of `keys(path=True)`.
    """
    key, _, value = text.partition("=")
    bare = key.lstrip("+")
    if not is_path(bare, value) or not value or (bare, value) == ("resume", "null"):
        return text
    quoted = _quoted_text(value)
    if quoted is not None and path_text(value) == quoted:
        return text
    values = [value]
    swept = bare not in (*keys(of_sweep=True), "features.cache_dir")
    if swept and not _exists(value) and quoted is None:
        if re.search(r"^,|,,|,$|^(glob|range|interval)\(.*\)$", value):
            return text  # for Hydra to read or refuse
        if choice := re.fullmatch(r"choice\((.*)\)", value):
            value = choice[1]
        values = _split(value)
    return shell.settings(key, map(path_text, values))


def path_text(value: str) -> str:
    """Return the path that a value stands for; `${` is escaped if such a path exists."""
    text = _quoted_text(value)
    if text is None or (_exists(value) and not _exists(text)):
        text = shell.literal(value) if _exists(value) else value
    return shell.expanded(text)


def _quoted_text(value: str) -> str | None:
    if len(value) < 2 or value[0] not in "\"'" or value[-1] != value[0]:
        return None
    return shell.parsed_text(value)


def _exists(value: str) -> bool:
    return os.path.exists(shell.expanded(value))  # noqa: PTH110 - Path.exists raises for long names


def _split(value: str) -> list[str]:
    """Split a value at commas outside quotes and brackets."""
    parts = re.findall(
        r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\([^()]*\)|\[[^\]]*\]|[^,])+""", value
    )
    return [part.strip() for part in parts]
