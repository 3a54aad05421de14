"""Licenses of pretrained weights, and whether they forbid commercial use."""

from collections.abc import Sequence

from visionsweep.report.column_values import model_facts
from visionsweep.report.evidence import Row

# In names of licenses that timm states; amlr and seer are for research.
_NON_COMMERCIAL = ("-nc", "noncommercial", "amlr", "seer")


def weights_of(rows: Sequence[Row]) -> list[str]:
    """Return the weights of rows, each with its license if there is one, sorted."""
    named = {(str(row.run.record.weights), license_of(row)) for row in rows}
    return sorted(f"{name} ({license})" if license else name for name, license in named)


def license_of(row: Row) -> str:
    """Return the license of the weights, marked if it forbids commercial use."""
    license = model_facts(row).license or ""
    return f"{license}, non-commercial" if is_non_commercial(license) else license


def is_non_commercial(license: str) -> bool:
    """Return whether a license, as timm names it, forbids commercial use."""
    return any(part in license for part in _NON_COMMERCIAL)
