import pytest

from focus_jax.training import settings
from tests.training.train_test import load_config


@pytest.mark.parametrize("name", ["em", "celeba_bfm2017", "misfit_prior", "paper_small"])
def test_the_configs_are_well(name):
    settings.check(load_config(name))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("log_every", 0, "at least 1"),
        ("schedule.period", 0, "at least 1"),
        ("data.batch_size", -4, "at least 1"),
        ("rates.autoencoder.rate", -1e-3, "not be negative"),
        ("data.paste", 1.5, "between 0 and 1"),
        ("losses.area", float("nan"), "finite"),
        ("losses.robust_sigma", 0.0, "above 0"),
        ("rates.segmenter.decay", -0.9, "not be negative"),
        ("optimizer.segmenter.clip", -1.0, "not be negative"),
        ("losses.neighbour_search", "photo", "one of"),
        ("losses.perceptual_features", "Deep", "one of"),
        ("rasterizer.backend", "cuda", "one of"),
        ("decoding.light_bands", (1.0, 0.5), "three finite"),
        ("decoding.light_bands", (1.0, 0.5, float("inf")), "three finite"),
        ("correct_albedo", (100, "x"), "whole"),
    ],
)
def test_numbers_that_cannot_work_are_named(field, value, rule):
    config = load_config("em")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=rf"config.{field}=.+ must .*{rule}"):
        settings.check(config)


def test_steps_on_renderings_need_their_loss():
    config = load_config("em")
    config.schedule.renderings, config.losses.coefficients = 5, 0.0
    with pytest.raises(ValueError, match=r"give config\.losses\.coefficients a weight"):
        settings.check(config)


@pytest.mark.parametrize("arguments", ["", "further"])
def test_known_coefficients_come_from_somewhere(arguments):
    """Said before the data are made, which takes minutes."""
    config = load_config("shipped", arguments)
    config.schedule.renderings = 0
    with pytest.raises(ValueError, match=r"name a file of them in config\.data\.codes, set"):
        settings.check(config)
    ways = {"data.codes": "c.npz", "data.renderings": 9, "losses.coefficients": 0.0}
    for name, value in ways.items():
        told = config.copy_and_resolve_references()
        told.update_from_flattened_dict({name: value})
        settings.check(told)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"data.test_count": 0}, "there must be some"),
        ({"data.paste": 0.3, "data.versions": 0}, "part of augmentation"),
        ({"data.paste": 0.3, "data.augment": False}, "part of augmentation"),
        ({"losses.neighbour_window": 4}, "must be odd"),
        ({"losses.neighbour_window": 65}, "at most config.data.size"),
        ({"schedule.segmenter_steps": 350}, "nothing to compare"),
        ({"schedule.joint": 150}, "nothing to compare"),
        ({"losses.pasted": 1.0}, r"set config\.data\.paste above 0"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields, said):
    config = load_config("em")
    config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=said):
        settings.check(config)


def test_a_schedule_without_steps_is_refused():
    config = load_config("em")
    config.schedule.update(warmup=0, initialisation=0, pretraining=0, joint=0)
    with pytest.raises(ValueError, match="no steps"):
        settings.check(config)
