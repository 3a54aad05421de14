"""The linear probe on the features of the runs of a group: a reference that is not ranked."""

from visionsweep.report import numbers
from visionsweep.report.evidence import Evidence
from visionsweep.runs import reference

MOST = 6  # backbones and training sets that are listed
_OF_FEATURES = ("model.", "data.", "transform", "features.")  # settings that they depend on


def reference_lines(evidence: Evidence) -> list[str]:
    """Return the losses of the linear probes, lowest first; none where runs of the group are."""
    runs = [row.run for row in evidence.rows]
    if any(run.record.is_solved for run in runs):
        return []
    probes: dict[str, tuple[str, reference.Reference]] = {}  # by file
    for run, settings in zip(runs, evidence.settings, strict=True):
        model, data = run.record.model, run.record.data
        assert model is not None and data is not None
        swept = {k: v for k, v in settings.items() if k.startswith(_OF_FEATURES)}
        others = [f"{key} {numbers.setting(value)}" for key, value in swept.items()]
        name = ", ".join([model.label, data.label, *others])
        precision = run.record.config.get("features", {}).get("precision", "auto")
        path = reference.path_of(run.directory.parent, model, data, precision)
        if (probe := reference.read(path)) is not None:
            probes.setdefault(path.name, (name, probe))
    best = sorted(probes.values(), key=lambda named: named[1].val_loss.value)
    losses = [
        f"{name}: {numbers.with_interval(probe.val_loss)}, test "
        f"{numbers.with_interval(probe.test_loss)}"
        for name, probe in best[:MOST]
    ]
    if not losses:
        return []
    more = f"; {len(best) - MOST} more" if len(best) > MOST else ""
    return [
        f"For reference, the validation loss of the linear probe on the same features "
        f"(training=linear_probe): {'; '.join(losses)}{more}."
    ]
