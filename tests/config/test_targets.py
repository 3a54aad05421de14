"""Optimizers and augmentations are classes from an allow-list, named in YAML."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from visionsweep.config.derived import result_settings
from visionsweep.config.schema import AugmentationConfig, OptimizerConfig
from visionsweep.config.targets import refuse_target
from visionsweep.data.transforms import build_augmentation, resized
from visionsweep.errors import UserError
from visionsweep.training.optimizers import make_optimizer, refuse_optimizer

CONF = Path(__file__).parents[2] / "conf"


def optimizer(target: str, lr: float = 0.01, **arguments: object) -> OptimizerConfig:
    return OptimizerConfig(
        name="x", _target_=target, lr=lr, fine_tuning_lr=lr, arguments=dict(arguments)
    )


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "subprocess.Popen", "torch.load", "torch.hub.load",
        "torch.optim.lr_scheduler.StepLR", "torch.optim.Optimizer", "torch.optim.adam",
        "torch.optim._functional", "torch.optim.Adamm", "Adam", "", "torch.optim.", ".Adam",
        "torchvision.transforms.v2.ColorJitter",
    ],
)  # fmt: skip
def test_optimizers_outside_the_allow_list_are_refused(target):
    with pytest.raises(UserError) as refused:
        refuse_target("optimizer", target, {"lr": 0.1})
    assert refused.value.where == f"optimizer._target_={target}"


@pytest.mark.parametrize(
    "target", ["torch.nn.Linear", "torchvision.transforms.ToTensor", "torchvision.transforms.v2.no"]
)
def test_augmentations_outside_the_allow_list_are_refused(target):
    with pytest.raises(UserError, match="augmentation"):
        refuse_target("augmentation", target, {})


@pytest.mark.parametrize("target", ["os.system", "torch.nn.Linear", "torchvision.transforms.v2.no"])
@pytest.mark.parametrize("listed", [True, False])
def test_transforms_inside_an_augmentation_are_from_the_allow_list(target, listed):
    inside = {"_target_": target, "command": "true"}
    arguments = {"transforms": [inside] if listed else inside}
    with pytest.raises(UserError) as refused:
        refuse_target("augmentation", "torchvision.transforms.v2.Compose", arguments)
    assert refused.value.where == f"augmentation._target_={target}"


@pytest.mark.parametrize(
    "arguments", [{"betaz": (0.9, 0.99)}, {"_args_": [1]}, {"_partial_": True}, {"_target_": "x"}]
)
def test_arguments_that_the_class_does_not_have_are_refused(arguments):
    with pytest.raises(UserError, match=r"optimizer\.arguments"):
        refuse_target("optimizer", "torch.optim.Adam", {"lr": 0.1} | arguments)


def test_values_that_the_class_refuses_are_reported():
    with pytest.raises(UserError, match="beta"):
        refuse_optimizer(optimizer("torch.optim.Adam", betas=[2.0, 0.9]), together=False)


def test_nested_targets_are_not_built(tmp_path):
    victim = tmp_path / "made"
    nested = {"_target_": "pathlib.Path.touch", "self": str(victim)}
    with pytest.raises(UserError):
        refuse_optimizer(optimizer("torch.optim.Adam", betas=nested), together=False)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("target", "kind"),
    [("torch.optim.RMSprop", torch.optim.RMSprop), ("torch.optim.NAdam", torch.optim.NAdam)],
)
def test_optimizer_is_built_from_its_class_and_arguments(target, kind):
    config = optimizer(target, lr=0.5, eps=1e-3)
    made = make_optimizer(config, torch.nn.Linear(2, 2))
    assert type(made) is kind
    assert made.defaults["lr"] == 0.5 and made.defaults["eps"] == 1e-3


@pytest.mark.parametrize("target", ["torch.optim.LBFGS", "torch.optim.SparseAdam"])
def test_optimizers_that_cannot_train_a_head_are_refused(target):
    with pytest.raises(UserError) as refused:
        refuse_optimizer(optimizer(target), together=False)
    assert target in refused.value.where


def test_optimizers_that_mix_replicates_are_refused_with_several():
    pytest.importorskip("timm")
    lamb = optimizer("timm.optim.Lamb")
    refuse_optimizer(lamb, together=False)
    with pytest.raises(UserError, match="replicates"):
        refuse_optimizer(lamb, together=True)
    refuse_optimizer(optimizer("timm.optim.NAdamW"), together=True)


def test_augmentation_is_applied_to_training_images_alone():
    config = AugmentationConfig(
        name="flip", _target_="torchvision.transforms.v2.RandomHorizontalFlip", arguments={"p": 1.0}
    )
    image = Image.linear_gradient("L").rotate(90).convert("RGB")
    plain = resized(32).build()(image)
    flipped = resized(32).build(build_augmentation(config))(image)
    assert not torch.equal(flipped, plain)
    assert torch.allclose(flipped, plain.flip(-1), atol=1e-5)


def test_augmentation_is_a_sequence_of_transforms():
    v2 = "torchvision.transforms.v2"
    invert = {"_target_": f"{v2}.RandomSolarize", "threshold": 0, "p": 1.0}
    parts = [
        {"_target_": f"{v2}.RandomHorizontalFlip", "p": 1.0},
        {"_target_": f"{v2}.RandomApply", "p": 1.0, "transforms": [invert]},
    ]
    config = AugmentationConfig(
        name="both", _target_=f"{v2}.Compose", arguments={"transforms": parts}
    )
    image = Image.linear_gradient("L").rotate(90).convert("RGB")
    changed = resized(32).pixels(image, build_augmentation(config))
    assert torch.equal(changed, 255 - resized(32).pixels(image).flip(-1))


@pytest.mark.parametrize("file", [*(CONF / "augmentation").glob("*.yaml")], ids=lambda p: p.stem)
def test_augmentations_of_the_manual_keep_the_size(file):
    config = AugmentationConfig(**OmegaConf.to_container(OmegaConf.load(file)))
    assert config.name == file.stem
    image = Image.effect_noise((300, 200), 90).convert("RGB")
    assert resized(32).pixels(image, build_augmentation(config)).shape == (3, 32, 32)


def test_records_without_targets_mean_the_classes_of_their_names():
    old = OptimizerConfig(name="SGD", lr=0.1, fine_tuning_lr=0.1, momentum=0.9)
    made = make_optimizer(old, torch.nn.Linear(2, 2))
    assert type(made) is torch.optim.SGD and made.defaults["momentum"] == 0.9
    assert build_augmentation(AugmentationConfig(name="none")) is None
    augmented = build_augmentation(AugmentationConfig(name="trivial_augment"))
    assert type(augmented.transform).__name__ == "TrivialAugmentWide"


def test_momentum_is_refused_by_the_class_and_not_by_the_name() -> None:
    arguments = {"lr": 0.1, "momentum": 0.9}
    with pytest.raises(UserError) as refused:
        refuse_target("optimizer", "torch.optim.AdamW", arguments)
    assert refused.value.where == "optimizer.momentum=0.9"
    refuse_target("optimizer", "torch.optim.SGD", arguments | {"nesterov": True})


def test_record_without_names_implies_no_class() -> None:
    flat = result_settings({"optimizer": {"_target_": "torch.optim.Adam"}, "augmentation": {}})
    assert flat == {"optimizer._target_": "torch.optim.Adam"}
