"""Rates that were measured on this machine."""

from visionsweep.storage.rates import keep_rate, read_rate


def test_rate_is_that_of_the_work_or_scaled_from_the_latest_of_its_kind(tmp_path):
    assert read_rate(tmp_path, "extraction", "a", 10) is None
    keep_rate(tmp_path, "extraction", "a", 50, cost=10)
    assert read_rate(tmp_path, "extraction", "a", 10) == (50, True)
    assert read_rate(tmp_path, "extraction", "b", 20) == (25, False)
    assert read_rate(tmp_path, "training", "a", 10) is None
    keep_rate(tmp_path, "extraction", "a", 60, cost=10)
    assert read_rate(tmp_path, "extraction", "a", 10) == (60, True)


def test_damaged_rate_is_none(tmp_path):
    keep_rate(tmp_path, "extraction", "a", 50)
    (file,) = tmp_path.rglob("*.json")
    for content in ("{", '{"per_second": -1, "cost": 1, "kind": "x"}', '{"per_second": 1e400}'):
        file.write_text(content)
        assert read_rate(tmp_path, "extraction", "a") is None
