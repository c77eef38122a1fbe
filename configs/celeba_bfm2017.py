"""The paper's setting: CelebA-HQ photos, Basel Face Model 2017, ResNet-50, 224 pixels, batch 12.

    python -m focus_jax.main --config=configs/celeba_bfm2017.py \\
        --config.data.root=CelebA-HQ --config.face_model.name=model2017-1_bfm_nomouth.h5

The authors started the encoder from ImageNet and looked through ArcFace; both files are read here:

    focus-jax weights import resnet50-0676ba61.pth --as encoder imagenet.safetensors
    focus-jax weights import backbone.pth --as arcface arcface.safetensors
    ... --config.init.encoder=imagenet.safetensors --config.recognizer.kind=arcface_r50 \\
        --config.recognizer.weights=arcface.safetensors

By default the recognizer is dlib's network, whose weights are free (third_party/README.md), and the
encoder starts from random numbers. The argument `paper` (`configs/celeba_bfm2017.py:paper`) follows
the text where it differs from the authors' code, the source of the published numbers;
`docs/settings.md` has every difference. With `smoke`, or `paper,smoke`, a few steps at 64 pixels
tell in minutes whether all files are there and fit.

Cost, as published: 300k iterations of initialisation in 120 hours and 200k of the joint training in
80 hours, on one RTX 2080 Ti (11 GB). The 30k of pre-training between them are the release's. The
first steps at batch 2, with a face model of BFM's full size, are a test marked slow
(`tests/training/celeba_config_test.py`), which prints their peak: 6.8 GiB on a CPU.

Published results of FOCUS, without the misfit prior:

| NoW, millimetres | median | mean | deviation |
| --- | --- | --- | --- |
| validation | 1.05 | 1.31 | 1.14 |
| test | 1.04 | 1.30 | 1.10 |

| masks inside the rendered face | accuracy | precision | recall | F1 |
| --- | --- | --- | --- | --- |
| CelebA-HQ, unoccluded | 0.92 | 0.99 | 0.93 | 0.96 |
| CelebA-HQ, occluded | 0.86 | 0.95 | 0.87 | 0.91 |
| CelebA-HQ, all | 0.89 | 0.97 | 0.90 | 0.93 |
| AR, unoccluded | 0.88 | 0.96 | 0.91 | 0.93 |
| AR, glasses | 0.88 | 0.98 | 0.85 | 0.91 |
| AR, scarf | 0.86 | 0.97 | 0.81 | 0.88 |
"""

from ml_collections import ConfigDict

from focus_jax.training import presets


def get_config(arguments: str = "") -> ConfigDict:
    """The settings; `arguments` are separated by commas."""
    chosen = set(filter(None, arguments.split(",")))
    unknown = chosen - {"release", "paper", "smoke"}
    if unknown or chosen >= {"release", "paper"}:
        raise ValueError(
            "configs/celeba_bfm2017.py knows the arguments release or paper, and smoke, not "
            f"{arguments!r}"
        )
    config = _published("paper" in chosen)
    if "smoke" in chosen:
        _smoke(config)
    config.name = "-".join(["celeba-bfm2017", *sorted(chosen)])
    return config


def _smoke(c: ConfigDict) -> None:
    c.data.update(size=64, batch_size=2, train_count=8, validation_count=2)
    c.log_every = 1
    c.schedule.update(initialisation=3, pretraining=2, joint=4, period=4, segmenter_steps=2)


def _published(paper: bool) -> ConfigDict:
    c = ConfigDict()
    c.seed = 0
    c.compare = False
    c.log_every = 100
    c.evaluate_every = 5_000
    c.checkpoint_every = 5_000
    # How many updates in a row may be left out because their numbers are not finite, before the run
    # stops; and whether to look for the operation that gave a NaN (slow).
    c.debug = ConfigDict({"skipped_updates": 5, "nans": False})
    # Several processes, see `sharding.start_processes`; under Slurm these stay as they are.
    c.distributed = ConfigDict({"coordinator": "", "processes": 1, "process": 0, "timeout": 300})

    c.data = ConfigDict(
        {
            "name": "photos",
            "root": "",
            "size": 224,
            "batch_size": 12,
            "augment": True,
            "fix_y_offset": True,
            "paste": 0.0,
            "renderings": 0,  # of the face model, for losses.coefficients
            "train_count": 0,  # all photos
            "validation_count": 0,
            "test_count": 0,
            "cache": "~/.cache/focus_jax/data",
        }
    )
    modes = {"identity": 80, "expression": 64, "albedo": 80}
    c.face_model = ConfigDict({"name": "", "modes": modes})
    c.encoder = ConfigDict({"kind": "resnet50"})
    c.segmenter = ConfigDict({"width": 64, "stem": "authors", "dropout": 0.5})
    # chip_size -1: the recognizer's own, 150 pixels for dlib and 112 for ArcFace.
    c.recognizer = ConfigDict(
        {"kind": "dlib", "chip_size": -1, "align_corners": True, "weights": ""}
    )
    # Files of `focus-jax weights import` to start from, instead of random numbers.
    c.init = ConfigDict({"encoder": "", "segmenter": ""})
    c.rasterizer = ConfigDict(
        {"backend": "", "renormalize_normals": False, "perspective": False, "samples": 1}
    )
    c.decoding = ConfigDict(
        {"albedo_scale": 3.0, "angle_scale": 0.3, "depth_scale": 0.005, "translation_scale": 1.0}
    )
    # Speed and memory on a GPU or TPU, see docs/scaling.md: "bfloat16"; computing feature maps anew
    # for the gradient; parts of a batch that go through one after the other.
    c.compute = ConfigDict({"dtype": "float32", "remat": False, "parts": 1})
    adadelta = {"name": "adadelta", "clip": 0.0, "weight_decay": 0.0}
    c.optimizer = ConfigDict({"autoencoder": dict(adadelta), "segmenter": dict(adadelta)})
    c.rates = ConfigDict(
        {
            "initialisation": {"rate": 0.1, "decay": 0.99, "every": 5_000},
            "pretraining": {"rate": 0.03, "decay": 1.0, "every": 5_000},
            # The release starts the joint stage at 0.1 * 0.99^60 * 0.8, the paper anew at 0.1.
            "autoencoder": {"rate": 0.1 if paper else 0.04377, "decay": 0.99, "every": 5_000},
            "segmenter": {
                "rate": 0.006 if paper else 0.002626,
                "decay": 0.99 if paper else 0.95,
                "every": 5_000,
            },
        }
    )
    c.schedule = ConfigDict(
        {
            "renderings": 0,
            "warmup": 0,
            "initialisation": 300_000,
            "pretraining": 30_000,
            "joint": 200_000,
            "period": 30_000,
            "segmenter_steps": 5_000 if paper else 5_001,
        }
    )
    c.correct_albedo = ()
    c.losses = presets.losses("paper" if paper else "release")
    return c
