"""The default job: the complete method at small scale, on synthetic or on your own photos.

    python -m focus_jax.main --config=configs/em.py                 synthetic, half an hour
    python -m focus_jax.main --config=configs/em.py:smoke           the same in two minutes
    python -m focus_jax.main --config=configs/em.py:photos --config.data.root=FOLDER

`FOLDER` holds photos with `train_landmarks.csv` and `val_landmarks.csv`. Arguments combine:
`configs/em.py:photos,smoke`. Of synthetic photos, and with `photos,renderings` of one's own, the
encoder first learns from faces of the face model whose coefficients are known, see
docs/how_it_works.md. Times are for two CPU cores.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from focus_jax.training import presets


def get_config(arguments: str = "") -> ConfigDict:
    """The settings; `arguments` are separated by commas."""
    chosen = set(filter(None, arguments.split(",")))
    unknown = chosen - {"smoke", "photos", "renderings"}
    if unknown:
        raise ValueError(
            "configs/em.py knows the arguments photos, renderings and smoke, "
            f"not {', '.join(sorted(unknown))}"
        )
    if chosen >= {"renderings"} and "photos" not in chosen:
        raise ValueError("configs/em.py: renderings goes with photos; synthetic jobs have them")
    config = _common()
    if "photos" in chosen:
        _photos(config)
        if "renderings" in chosen:
            _renderings(config)
    else:
        _synthetic(config)
    if "smoke" in chosen:
        _smoke(config)
    config.name = "-".join(["em", *sorted(chosen)])
    return config


def _common() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0
    c.compare = True  # also train without masks, for the table
    c.log_every = 20
    c.evaluate_every = 500
    c.checkpoint_every = 250
    # How many updates in a row may be left out because their numbers are not finite, before the run
    # stops; and whether to look for the operation that gave a NaN (slow).
    c.debug = ConfigDict({"skipped_updates": 5, "nans": False})
    # Several processes, see `sharding.start_processes`; under Slurm these stay as they are.
    c.distributed = ConfigDict({"coordinator": "", "processes": 1, "process": 0, "timeout": 300})

    _data(c)
    _networks(c)
    _training(c)
    return c


def _data(c: ConfigDict) -> None:
    c.data = ConfigDict()
    c.data.name = "synthetic"  # or "photos"
    c.data.root = ""  # the photos' folder
    c.data.size = 64  # pixels of the square crop
    c.data.record_size = 96  # of the stored crop, which the recognizer's features come from
    c.data.versions = 2  # augmented versions of each photo, for an encoder on such features
    c.data.batch_size = 32
    c.data.augment = True
    c.data.fix_y_offset = True  # of crops of photos, see `data.align.align_face`
    c.data.paste = 0.0  # part of the training photos on which an occluder is pasted
    # Faces of the face model as it is fitted, whose coefficients the encoder is told of with the
    # weight `losses.coefficients`.
    c.data.renderings = 0
    # An npz of coefficients of the photos, see `experiments.refined_codes`: told in their place.
    c.data.codes = ""
    c.data.train_count = 3000  # synthetic faces
    c.data.validation_count = 200
    c.data.test_count = 400
    c.data.cache = "~/.cache/focus_jax/data"

    c.face_model = ConfigDict()
    c.face_model.name = "builtin"
    # Fewer modes than the data are drawn from: like a real photo, no face is quite in the model.
    c.face_model.modes = ConfigDict({"identity": 40, "expression": 20, "albedo": 12})


def _networks(c: ConfigDict) -> None:
    # Frozen recognizer features find pose, shape and expression in minutes. The small network from
    # scratch ("small") works too, and needs ten times as long.
    # `detail` places faces more exactly, in slower steps: finer features, and a look at the pixels.
    # `landmarks` shows it the detector's, and features of the face as they cut it out. Both are of
    # the kind "recognizer".
    c.encoder = ConfigDict({"kind": "recognizer", "detail": False, "landmarks": False})
    # `fine` channels look once more at single pixels, of which the stem has blocks of 2 x 2.
    c.segmenter = ConfigDict({"width": 8, "stem": "space_to_depth", "dropout": 0.1, "fine": 0})
    c.recognizer = ConfigDict(
        {"kind": "dlib", "chip_size": 0, "align_corners": True, "weights": ""}
    )
    # Files of `focus-jax weights import` or of an exported model to start from, instead of random
    # numbers and of the face model's own mean albedo.
    c.init = ConfigDict({"encoder": "", "segmenter": "", "albedo_mean": ""})
    # "warp", "jnp", or whichever suits the device; the rest is of `render.render_mesh`
    c.rasterizer = ConfigDict(
        {"backend": "", "renormalize_normals": False, "perspective": False, "samples": 1}
    )
    c.decoding = ConfigDict(
        {
            "albedo_scale": 1.0,
            "angle_scale": 0.3,
            "depth_scale": 30.0,
            "translation_scale": 10.0,
            "light_scale": 1.0,
            "light_colour": 0.3,
            "light_colour_limit": 10.0,
            "light_bands": (1.0, 1.0, 0.5),
            "albedo_limit": 3.0,
        }
    )


def _training(c: ConfigDict) -> None:
    # Speed and memory on a GPU or TPU, see docs/scaling.md: "bfloat16"; computing feature maps anew
    # for the gradient; parts of a batch that go through one after the other.
    c.compute = ConfigDict({"dtype": "float32", "remat": False, "parts": 1})
    c.optimizer = ConfigDict(
        {
            "autoencoder": {"name": "adam", "clip": 1.0, "weight_decay": 1e-2},
            "segmenter": {"name": "adam", "clip": 1.0, "weight_decay": 0.0},
        }
    )
    c.rates = ConfigDict(
        {
            "initialisation": {"rate": 1e-3, "decay": 1.0, "every": 1000},
            "pretraining": {"rate": 1e-3, "decay": 1.0, "every": 1000},
            "autoencoder": {"rate": 1e-3, "decay": 0.9, "every": 200},
            "segmenter": {"rate": 1e-3, "decay": 0.9, "every": 200},
        }
    )
    c.schedule = ConfigDict(
        {
            "renderings": 0,  # steps on these alone, before the others
            "warmup": 400,
            "initialisation": 300,
            "pretraining": 300,
            "joint": 1050,
            "period": 350,
            "segmenter_steps": 150,
        }
    )
    # Steps, from the warm-up on, before which the mean albedo is corrected by the photos.
    c.correct_albedo = ()
    c.losses = presets.losses("release")
    c.losses.landmark = 1e-2  # pixels of a 64-pixel crop are 3.5 times as large
    c.losses.landmark_heavy = 1.0  # uniform weights serve short trainings better
    c.losses.perceptual_features = "shallow"
    c.losses.initial_perceptual = 0.0  # the first masks need no likeness, and are there sooner
    c.losses.area = 0.95
    c.losses.preserve = 2.5
    c.losses.binary = 1.0


def _synthetic(c: ConfigDict) -> None:
    # The embedding of the face as its landmarks cut it out, and faces whose coefficients are known,
    # tell shapes that pixels behind an occluder do not.
    c.encoder.landmarks = True
    c.data.renderings = 2000
    c.segmenter.width = 16  # with 8 fewer occluders are found
    # Bounds of light and tone, wider than photos', as lamps here have colours: less of an occluder
    # is explained away, and colours come closer besides.
    c.decoding.update(light_colour_limit=0.5, albedo_limit=2.0)
    c.losses.photometric = c.losses.robust = 1.5
    # Through the mask the encoder lowers such a loss fastest by colours which the segmenter takes
    # for an occluder; in some runs none of the face was left.
    c.losses.detach_mask = True
    c.losses.area = 1.3
    c.losses.coefficients = 1.0
    c.losses.binary = 4.0  # better than 1 with each seed that looked at it
    c.losses.landmark_doubt = 0.85  # hidden ones err 2.3 times as much, most of it together
    c.schedule.update(renderings=800, warmup=300, initialisation=400)


def _photos(c: ConfigDict) -> None:
    c.data.name = "photos"
    c.data.record_size = 150
    c.data.versions = 6
    c.data.paste = 0.3
    c.data.train_count = c.data.validation_count = 0  # all
    c.compare = False
    # Light and tone must not explain an occluder. Light is nearly grey (2 % of the ambient light),
    # smooth and weak; tones stay within those of most people. With three times the first and half
    # as much again of the second, colours came no closer, but faces behind white masks turned grey.
    c.decoding.light_colour_limit = 0.08
    c.decoding.light_bands = (0.5, 0.5, 0.15)
    c.decoding.albedo_limit = 1.0
    # Real faces are met less closely than synthetic ones: more of the landmarks, and a mask that
    # forgives more.
    c.schedule.update(warmup=1500, initialisation=600, joint=2250, period=450, segmenter_steps=200)
    c.correct_albedo = (500, 1000, 1500)
    c.rates.initialisation = ConfigDict({"rate": 1e-3, "decay": 0.7, "every": 500})
    c.losses.landmark = 9e-2
    c.losses.area = 1.1


def _renderings(c: ConfigDict) -> None:
    c.data.renderings = 3000
    c.schedule.renderings = 1000
    c.losses.coefficients = 0.3


def _smoke(c: ConfigDict) -> None:
    c.log_every = 1
    c.evaluate_every = 20
    c.correct_albedo = tuple(step for step in (2, 4) if c.correct_albedo)
    c.checkpoint_every = 5
    c.data.batch_size = 4
    c.data.train_count, c.data.validation_count, c.data.test_count = 24, 8, 8
    c.data.renderings = min(c.data.renderings, 24)
    c.schedule = ConfigDict(
        {
            "renderings": min(c.schedule.renderings, 4),
            "warmup": 4,
            "initialisation": 4,
            "pretraining": 3,
            "joint": 12,
            "period": 6,
            "segmenter_steps": 2,
        }
    )


# --- sweeps, for experiments/launch.py ------------------------------------------------------------


def sweep_seeds(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """The same job with five seeds."""
    for seed in range(5):
        yield {"seed": config.seed + seed}


def sweep_area(config: ConfigDict) -> Iterator[dict[str, Any]]:
    """What decides most: how much of the face the mask is paid to keep; three seeds each."""
    for factor in (0.5, 0.75, 1.0, 1.25, 1.5):
        for seed in range(3):
            yield {"losses.area": round(factor * config.losses.area, 4), "seed": config.seed + seed}
