"""Models of timm, with weights from a planted cache of the hub, or from a mirror on loopback."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from visionsweep.command_memory import fresh_memory
from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.models import backbones, timm_models
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.pretrained_weights import WeightsUnavailableError

timm = pytest.importorskip("timm")
constants = pytest.importorskip("huggingface_hub").constants

VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
CONVNET = "mobilenetv4_conv_small_050.e3000_r224_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config_of(name: str, **changes) -> ModelConfig:
    return ModelConfig(**{"label": "mine", "name": name, "source": "timm"} | changes)


def build(config: ModelConfig, size: int) -> backbones.Backbone:
    return backbones.build(resolve_backbone(config, random_if_unavailable=False), size)


@functools.cache
def network(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return timm.create_model(name, pretrained=False).eval()


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def plant(hub: Path, name: str, content: bytes | None = None) -> Path:
    """Store a model's tensors as the hub's client does; return the file under its hash."""
    content = content or safetensors.torch.save(network(name).state_dict())
    place = hub / f"models--timm--{name}"
    blob = place / "blobs" / hashlib.sha256(content).hexdigest()
    link = place / "snapshots" / COMMIT / "model.safetensors"
    for file in (blob, link, place / "refs" / "main"):
        file.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (place / "refs" / "main").write_text(COMMIT)
    return blob


@pytest.mark.parametrize(("name", "size"), [(VIT, 224), (CONVNET, 64)])
def test_features_are_those_of_timm(name, size, hub):
    plant(hub, name)
    backbone = build(config_of(name), size)
    images = torch.randn(2, 3, size, size)
    whole = network(name)
    with torch.inference_mode():
        expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
        assert torch.equal(backbone.module(images), expected)
    assert backbone.width == expected.shape[1]
    assert backbone.spec.weights == f"timm/{name}@{COMMIT[:12]}"
    assert backbone.spec.license == "apache-2.0"


def test_position_embeddings_are_resampled_to_the_image_size(hub):
    plant(hub, VIT)
    with torch.inference_mode():
        assert build(config_of(VIT), 96).module(torch.randn(2, 3, 96, 96)).shape == (2, 192)
    with pytest.raises(UserError) as refused:
        build(config_of(VIT), 100)
    assert "100x100" in refused.value.what and "96 or 112" in refused.value.what


def test_tokens_are_pooled_as_configured(hub):
    plant(hub, VIT)
    images = torch.randn(2, 3, 224, 224)
    pooled = {p: build(config_of(VIT, pooling=p), 224) for p in ("cls", "avg", "cls+avg")}
    with torch.inference_mode():
        tokens = network(VIT).forward_features(images)
        features = {pooling: backbone.module(images) for pooling, backbone in pooled.items()}
    assert torch.equal(features["cls"], tokens[:, 0])
    assert torch.equal(features["avg"], tokens[:, 1:].mean(1))
    assert torch.equal(features["cls+avg"], torch.cat([features["cls"], features["avg"]], 1))
    fingerprints = {backbone.spec.fingerprint for backbone in pooled.values()}
    default = resolve_backbone(config_of(VIT), random_if_unavailable=False)
    assert len(fingerprints | {default.fingerprint}) == 4
    plant(hub, CONVNET)
    with pytest.raises(UserError, match=r"model\.pooling=cls"):
        build(config_of(CONVNET, pooling="cls"), 64)


def test_transform_is_that_of_the_weights():
    siglip = timm_models.preprocessing_of("vit_base_patch16_siglip_256.v2_webli")
    assert (siglip.size, siglip.mean, siglip.interpolation) == (256, (0.5,) * 3, "bicubic")
    facts = map(timm.get_pretrained_cfg, timm.list_models(pretrained=True))
    name, size = next(
        (f"{c.architecture}.{c.tag}", c.input_size[1]) for c in facts if c.crop_mode == "squash"
    )
    squashed = timm_models.preprocessing_of(name)
    assert (squashed.resize, squashed.crop) == ((size, size), None)


def test_transform_resizes_as_timm_does():
    names = [
        "vit_small_patch16_224.augreg_in21k_ft_in1k",
        "vit_base_patch16_siglip_256.v2_webli",
        "mobilenetv4_conv_small.e2400_r224_in1k",
        "tf_efficientnet_lite2.in1k",
    ]
    for name in names:
        facts = timm.get_pretrained_cfg(name).to_dict()
        settings = timm.data.resolve_data_config(pretrained_cfg=facts)
        theirs = timm.data.create_transform(**settings)
        resize = theirs.transforms[0].size
        ours = timm_models.preprocessing_of(name)
        assert tuple(np.atleast_1d(resize)) == ours.resize
        assert tuple(settings["mean"]) == ours.mean and tuple(settings["std"]) == ours.std


def test_transforms_that_are_not_of_squares_are_refused():
    facts = list(map(timm.get_pretrained_cfg, timm.list_models(pretrained=True)))
    wide = next(c for c in facts if c.input_size[1] != c.input_size[2])
    on_border = next(c for c in facts if c.crop_mode == "border")
    for of in (wide, on_border):
        name = f"{of.architecture}.{of.tag}" if of.tag else of.architecture
        with pytest.raises(UserError) as refused:
            timm_models.refuse_transform(name)
        assert refused.value.where == "transform=pretrained"
    timm_models.refuse_transform(VIT)


def test_weights_that_are_not_here_are_an_error_that_names_file_and_ways_out(hub):
    with pytest.raises(WeightsUnavailableError) as refused:
        resolve_backbone(config_of(VIT), random_if_unavailable=False)
    error = refused.value
    assert error.where == f"timm/{VIT}" and "HF_HUB_OFFLINE" in error.what
    assert f"timm/{VIT}/resolve/main/model.safetensors" in error.hint
    assert str(hub) in error.hint and "HF_ENDPOINT" in error.hint


def test_changed_or_damaged_weights_are_refused(hub):
    blob = plant(hub, CONVNET)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not the published weights"):
        resolve_backbone(config_of(CONVNET), random_if_unavailable=False)
    plant(hub, VIT, content=b"no tensors")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        build(config_of(VIT), 224)


def test_weights_of_another_model_are_refused(hub):
    plant(hub, VIT, content=safetensors.torch.save(network(CONVNET).state_dict()))
    with pytest.raises(UserError) as refused:
        build(config_of(VIT), 224)
    assert refused.value.where == f"model.name={VIT}" and str(hub) in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("vit_tiny_patch16_225", "vit_tiny_patch16_224"),
        ("vit_tiny_patch16_224.nobody", "augreg_in21k_ft_in1k"),
        ("hf-hub:somebody/model", "no such model"),
        ("../vit", "no such model"),
    ],
)
def test_unknown_names_are_refused_with_what_there_is(name, suggestion):
    with pytest.raises(UserError) as refused:
        timm_models.pretrained_config(name)
    assert refused.value.where == f"model.name={name}" and suggestion in refused.value.what


def test_random_weights_need_no_hub(hub):
    first, second = (build(config_of(CONVNET, weights=None), 64) for _ in range(2))
    assert first.spec.weights == "random" and first.spec.license is None
    for left, right in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.exhaustive
def test_weights_are_downloaded_from_a_mirror_once(tmp_path):
    content = safetensors.torch.save(network(CONVNET).state_dict())
    requests: list[str] = []

    class Mirror(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(f"{self.command} {self.path}")
            there = self.path == f"/timm/{CONVNET}/resolve/main/model.safetensors"
            self.send_response(200 if there else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) if there else 0))
            self.end_headers()
            if there and self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 - the server's name

        def log_message(self, *_):
            pass

    script = (
        "import json, sys\n"
        "from visionsweep.models.hub_files import hub_file\n"
        "file, label = hub_file(sys.argv[1])\n"
        "print(json.dumps([str(file.path), label]))"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", script, CONVNET],
                env=environment, capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        server.shutdown()
    path, label = json.loads(done.stdout.splitlines()[-1])
    assert Path(path).read_bytes() == content and label == f"timm/{CONVNET}@{COMMIT[:12]}"
    assert len([r for r in requests if r.startswith(f"GET /timm/{CONVNET}")]) == 1


def small_model_of(module: str) -> str | None:
    """Return a model of a module of timm with weights on the hub, below 12 million parameters."""
    names = {
        name.partition(".")[0]: name for name in timm.list_models(module=module, pretrained=True)
    }
    for name in sorted(names.values(), key=len)[:6]:
        with torch.device("meta"):
            try:
                whole = timm.create_model(name, num_classes=0)
            except (NotImplementedError, RuntimeError):  # reads values while it is built
                continue
        if sum(p.numel() for p in whole.parameters()) < 12_000_000:
            return name
    return None


@pytest.mark.exhaustive
def test_a_model_of_every_family_gives_features_or_is_refused_by_name():
    names = [name for module in timm.list_modules() if (name := small_model_of(module))]
    refused = {}
    for name in names:
        facts = timm_models.pretrained_config(name)
        size = facts.input_size[1] if facts.fixed_input_size else 96
        with fresh_memory():
            try:
                backbone = build(config_of(name, weights=None), size)
                device = DeviceBackbone(backbone.module, resized(size), torch.device("cpu"), name)
                features = device(torch.randint(256, (2, 3, size, size), dtype=torch.uint8))
                assert features.shape == (2, backbone.width) and features.isfinite().all()
            except UserError as error:
                refused[name] = (error.where, error.what)
    assert len(names) > 40
    assert all(where == f"model.name={name}" for name, (where, _) in refused.items())
    assert len(refused) < 5, refused
