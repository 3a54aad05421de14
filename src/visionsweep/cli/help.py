"""Text of `python src/train.py --help`: groups and options from `conf/`, settings from the schema.

Hydra's own help composes the configuration once per group and takes more than a second.
"""

import shutil
import textwrap
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from visionsweep.config.derived import SECTIONS, flatten, settings
from visionsweep.config.setting import Setting


def manual(config_dir: Path) -> str:
    """Return the help. The first comment of each file of `config_dir` describes the option."""
    with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    about, choices = config.hydra.help, config.hydra.runtime.choices
    defaults = flatten(cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)))
    columns = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 110)
    groups = sorted(f for f in config_dir.iterdir() if f.is_dir() and f.name != "hydra")
    header = [textwrap.fill(text, columns) for text in about.header.split("\n\n")]
    parts = [*header, "GROUPS: choose with group=option (* marks the default)"]
    parts += [_group(folder, choices.get(folder.name), columns) for folder in groups]
    parts.append("SETTINGS: change with key=value, for example optimizer.lr=0.003; (default)")
    for section in (*SECTIONS, ""):
        keys = [key for key in settings() if key.rpartition(".")[0] == section]
        parts.append("\n".join(_setting(settings()[key], defaults[key], columns) for key in keys))
    return "\n\n".join(part.rstrip() for part in (*parts, about.footer))


def _group(folder: Path, chosen: str | None, columns: int) -> str:
    lines = [f"  {folder.name}"]
    for file in sorted(folder.glob("*.yaml")):
        comments = [s for s in file.read_text(encoding="utf-8").splitlines() if s.startswith("#")]
        about = [s.lstrip("# ") for s in comments if not s.startswith("# @package")]
        mark = "*" if file.stem == chosen else " "
        lines.append(_entry(f"{mark} {file.stem}", about[0] if about else "", columns))
    return "\n".join(lines)


def _setting(declared: Setting, value: Any, columns: int) -> str:
    """Return a setting's help, its default, and its choices or bounds."""
    text = declared.help
    if declared.choices:
        text += f": {', '.join(declared.choices)}"
    elif declared.is_number:
        text += f"; {declared.valid_values}"
    if isinstance(value, dict) and any(value.values()):
        return _entry(declared.key, text, columns)  # from the option's file, and long
    default = "null" if value is None else str(value).lower() if declared.type is bool else value
    return _entry(declared.key, f"{text} ({default})", columns)


def _entry(name: str, text: str, columns: int) -> str:
    indent = " " * 30
    lines = textwrap.fill(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    start = f"    {name:<25} "
    return f"    {name}\n{lines}" if len(start) > 30 else start + lines.lstrip()
