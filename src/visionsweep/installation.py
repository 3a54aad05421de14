"""Where the package runs from: a checkout of the repository, or an installed wheel."""

import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parents[1]

CHECKOUT = _ROOT if (_ROOT / "src" / "train.py").is_file() else None
CONF = (CHECKOUT or _PACKAGE) / "conf"  # a wheel holds a copy of the checkout's folder


def localized(text: str) -> str:
    """Return a message with commands that work here.

    Messages are written for a checkout: `python src/train.py`, `pip install -e '.[lite]'`. Where
    the package is installed, these are `visionsweep train` and `pip install 'visionsweep[lite]'`.
    """
    if CHECKOUT is not None:
        return text
    text = re.sub(r"(?:python )?src/(\w+)\.py\b", r"visionsweep \1", text)
    return text.replace("pip install -e '.[", "pip install 'visionsweep[")
