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
        ("schedule.joint", -1, "whole number, not negative"),
    ],
)
def test_numbers_that_cannot_work_are_named(field, value, rule):
    config = load_config("em")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=rf"config.{field}=.+ must .*{rule}"):
        settings.check(config)


def test_what_is_no_config_is_told():
    with pytest.raises(ValueError, match="must return a ConfigDict, not dict"):
        settings.check(load_config("em").to_dict())


def test_a_config_of_ones_own_that_lacks_a_field_is_told_which():
    """Each was a bare KeyError or AttributeError, some of them hours into the run."""
    whole = {name for name, _ in settings.leaves(load_config("celeba_bfm2017"))}
    required = set()
    for name in sorted(whole):
        config = load_config("celeba_bfm2017")
        section, _, field = name.rpartition(".")
        place = config
        for part in section.split(".") if section else ():
            place = place[part]
        del place[field]
        try:
            settings.check(config)
        except ValueError as error:
            assert str(error) == (
                f"the config has no {name}; begin from configs/em.py, which has all fields, and "
                "change what differs"
            )
            required.add(name)
    assert required >= {"seed", "data.size", "data.root", "schedule.joint", "rates.segmenter.every"}
    assert required >= {"name", "debug.nans", "losses.area", "losses.pasted", "compare"}
    # What older configs lack is still as it was without.
    for name in ("compute.remat", "losses.landmark_doubt", "schedule.renderings"):
        assert name in whole and name not in required


@pytest.mark.parametrize("section", ["losses", "schedule", "data", "init", "rates", "face_model"])
def test_a_missing_section_is_told_as_one(section):
    config = load_config("em")
    del config[section]
    with pytest.raises(
        ValueError, match=rf"the config has no (\S+, )*{section}; begin from"
    ) as told:
        settings.check(config)
    assert f"{section}." not in str(told.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.size", "64"),
        ("data.batch_size", 32.0),
        ("schedule.joint", 1e4),
        ("schedule.warmup", None),
        ("rates.segmenter.rate", "1e-3"),
        ("losses.area", None),
        ("correct_albedo", 500),
        ("decoding.light_bands", 1.0),
    ],
)
def test_values_of_another_kind_are_named(name, value):
    """As a file of one's own may have them; `--config.x=` refuses them itself."""
    config = load_config("em")
    section, _, field = name.rpartition(".")
    place = config
    for part in section.split(".") if section else ():
        place = place[part]
    with place.ignore_type():
        place[field] = value
    with pytest.raises(ValueError, match=rf"config\.{name}=.+ must be .*(number)"):
        settings.check(config)


@pytest.mark.parametrize(
    "name", ["schedule.warm_up", "face_model.modes.pose", "optimizer.autoencoder.rate"]
)
def test_fields_that_there_are_not_are_named(name):
    config = load_config("em")
    section, _, field = name.rpartition(".")
    for part in section.split("."):
        config = config[part]
    whole = load_config("em")
    whole.update_from_flattened_dict({section: {**config, field: 1}})
    with pytest.raises(ValueError, match=rf"config\.{name} is none of {section}'s fields"):
        settings.check(whole)


def test_parts_divide_the_batch():
    config = load_config("em")
    config.compute.parts = 3
    with pytest.raises(ValueError, match=r"batch_size=32 does not divide into .*parts=3"):
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
