"""The manual behind `python src/train.py --help`: groups, options and keys, read from `conf/`.

Hydra's own help composes the configuration once for each group and takes more than a second.
"""

import textwrap
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict


def manual(config_dir: Path) -> str:
    """Write the manual.

    Args:
        config_dir: the folder of `config.yaml`. The first comment line of each option's file says
            what the option is for.
    """
    with initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
        config = compose("config", return_hydra_config=True)
    about, choices = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
    groups = sorted(f for f in config_dir.iterdir() if f.is_dir() and f.name != "hydra")
    parts = [about.header, "GROUPS: choose with group=option (* is what you get if you do not)"]
    parts += [_group(folder, choices.get(folder.name)) for folder in groups]
    parts += ["KEYS: set with key=value, for example optimizer.lr=0.003"]
    parts += [textwrap.indent(OmegaConf.to_yaml(config), "  "), about.footer]
    return "\n\n".join(part.rstrip() for part in parts)


def _group(folder: Path, chosen: str | None) -> str:
    lines = [f"  {folder.name}"]
    for file in sorted(folder.glob("*.yaml")):
        comments = [s for s in file.read_text(encoding="utf-8").splitlines() if s.startswith("#")]
        said = [s.lstrip("# ") for s in comments if not s.startswith("# @package")]
        mark = "*" if file.stem == chosen else " "
        text = f"{mark} {file.stem:20} {said[0] if said else ''}"
        lines.append(textwrap.fill(text, 99, initial_indent="    ", subsequent_indent=" " * 27))
    return "\n".join(lines)
