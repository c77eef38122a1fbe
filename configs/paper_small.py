"""The paper's method as published, on a small scale: what differs between it and the default job.

    python -m focus_jax.main --config=configs/paper_small.py

ResNet-50 from random numbers, the authors' U-Net, Adadelta, loss weights and stages of
`configs/celeba_bfm2017.py`; of 96-pixel crops of the default job's rendered people, with its face
model and the free recognizer, and a fiftieth of the steps: hours on two CPU cores. With `smoke` a
few steps.
"""

from ml_collections import ConfigDict

from configs import celeba_bfm2017, em

SIZE = 96  # pixels
SHORTER = 50  # times as few steps


def get_config(arguments: str = "") -> ConfigDict:
    """The settings; `arguments` is empty or "smoke"."""
    if arguments not in ("", "smoke"):
        raise ValueError(f"configs/paper_small.py knows the argument smoke, not {arguments!r}")
    c, people = celeba_bfm2017.get_config(), em.get_config(arguments)
    c.name = "paper-small" + "-smoke" * (arguments == "smoke")
    c.compare, c.log_every, c.evaluate_every, c.checkpoint_every = True, 20, 500, 250
    c.face_model = people.face_model
    c.data.update(name="synthetic", size=SIZE)
    c.data.update({n: people.data[n] for n in ("train_count", "validation_count", "test_count")})
    # Of distances in pixels, squared, those of a crop of 224.
    c.losses.landmark *= (224 / SIZE) ** 2
    for stage, steps in c.schedule.items():
        c.schedule[stage] = steps // SHORTER
    for rate in c.rates.values():
        rate["every"] //= SHORTER
    if arguments == "smoke":
        c.data.update(size=64, batch_size=2)
        c.log_every = 1
        c.schedule.update(initialisation=3, pretraining=2, joint=4, period=4, segmenter_steps=2)
    return c
