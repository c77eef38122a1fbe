"""The model that comes with the package: 112 pixels, photos and synthetic faces.

    python -m experiments.shipped_photos PHOTOS PEOPLE PORTRAITS FOLDER
    focus-jax prepare FOLDER DATA                            the photos whose licence permits it
    python -m experiments.refined_codes shipped DATA CODES.npz
    python -m focus_jax.main --config=configs/shipped.py --config.data.root=DATA \\
        --config.data.codes=CODES.npz
    focus-jax weights export runs/shipped focus_jax/weights/shipped

`focus_jax/weights/shipped/MODEL_CARD.md` says what came of it. With the argument `further` both
networks of the shipped model go on learning, from codes that are made anew with it: they are better
than those which it learnt from. `smoke` is short.
"""

from ml_collections import ConfigDict

from configs import em
from focus_jax.weights.run import EXPORTED, SHIPPED


def get_config(arguments: str = "") -> ConfigDict:
    """The settings."""
    chosen = set(filter(None, arguments.split(",")))
    if unknown := chosen - {"further", "smoke"}:
        raise ValueError(
            "configs/shipped.py knows the arguments further and smoke, "
            f"not {', '.join(sorted(unknown))}"
        )
    smoke = "smoke" in chosen
    c = em.get_config("photos,smoke" if smoke else "photos")
    c.name = "-".join(["shipped", *sorted(chosen)])
    c.data.size = 112
    # A thousand photos are few: synthetic faces show more poses and expressions than they do, and
    # have codes, too.
    c.data.synthetic = 4 if smoke else 1500
    c.data.paste = 0.4
    c.data.versions = 5
    c.face_model.modes = ConfigDict({"identity": 80, "expression": 40, "albedo": 80})
    # An encoder that sees who it is, where the landmarks are, and the pixels.
    c.encoder.detail = c.encoder.landmarks = True
    # With 8 it finds fewer hands, without fine ones fewer rims of glasses (experiments/RESULTS.md).
    c.segmenter.width = c.segmenter.fine = 16
    # Tones and light as people have them: what an occluder is, the segmenter is told.
    c.decoding.update(albedo_limit=3.0, light_colour_limit=0.5, light_bands=(1.0, 1.0, 0.5))
    c.losses.landmark = 3e-2
    c.losses.photometric = c.losses.robust = 1.0
    c.losses.coefficients = 0.5
    c.losses.perceptual_features = "deep"
    c.recognizer.chip_size = 100
    # The segmenter is told where an occluder was pasted on, and of the synthetic faces that all the
    # rest is face, which the paper's method is not: hands and glasses resemble the face too much to
    # be found by its rendering alone.
    c.losses.pasted = 4.0
    c.losses.area = 2.0  # with 1.1 half of a clean face is left out: finer pixels agree less
    c.schedule.renderings = 4 if smoke else 1200  # of codes alone
    c.correct_albedo = ()
    if not smoke:
        c.checkpoint_every = 200
        # The segmenter goes on from the one that comes along, so that it needs no pre-training.
        c.init.segmenter = str(SHIPPED / "segmenter.safetensors")
        c.schedule.update(warmup=600, initialisation=100, pretraining=0, joint=1100)
        c.rates.initialisation.update(rate=1e-3, decay=0.7, every=300)
        c.rates.autoencoder.update(rate=5e-4, decay=0.8)
    if "further" in chosen:
        _further(c)
    return c


def _further(c: ConfigDict) -> None:
    """From the networks that come along, with codes that were made with them."""
    for name in EXPORTED:
        c.init[name] = str(SHIPPED / f"{name}.safetensors")
    smoke = c.schedule.joint < 100
    c.schedule.update(renderings=4 if smoke else 2400, warmup=0, initialisation=0)
    if not smoke:
        c.schedule.update(joint=2100, period=700, segmenter_steps=200)
    c.losses.photometric, c.losses.coefficients = 1.5, 1.0
    c.rates.initialisation.update(rate=7e-4, decay=0.7, every=500)
    c.rates.autoencoder.update(rate=4e-4, decay=0.75, every=300)
    c.rates.segmenter.update(rate=5e-4, decay=0.7, every=150)
