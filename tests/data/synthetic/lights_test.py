import numpy as np

from focus_jax.data.synthetic.lights import KINDS, harmonics, random_light
from focus_jax.rendering import scenes, shading

NORMALS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)
FRONT = NORMALS[NORMALS[:, 2] < -0.1]


def seen(light):
    """What a grey face of albedo 1 looks like under harmonics."""
    return np.asarray(shading.shade(np.ones_like(FRONT), FRONT, light))


def test_every_kind_of_light_shines():
    rng = np.random.default_rng(0)
    drawn = [random_light(rng) for _ in range(300)]
    assert {kind for kind, _ in drawn} == set(KINDS)
    for _, light in drawn:
        np.testing.assert_allclose(np.linalg.norm(light.towards, axis=1), 1, atol=1e-5)
        assert (light.colours >= 0).all() and len(light.softness) == len(light.colours) <= 3
        assert np.isfinite(light.ambient).all() and (light.ambient[0] > 0).all()


def test_harmonics_are_the_light_through_the_cameras_curve():
    ambient = np.float32([[0.2, 0.3, 0.4], *[[0, 0, 0]] * 3])
    none = np.zeros((0, 3), np.float32)
    light = scenes.Light(ambient, none, none, np.zeros(0))
    expected = (ambient[0] * 2) ** (1 / scenes.GAMMA)
    np.testing.assert_allclose(
        seen(harmonics(light, np.full(3, 2.0))), [expected] * len(FRONT), rtol=1e-3
    )


def test_harmonics_follow_lamps_on_what_faces_the_camera():
    rng = np.random.default_rng(1)
    for _ in range(20):
        _, light = random_light(rng)
        total = light.ambient[0] + FRONT @ light.ambient[1:]
        for towards, colour in zip(light.towards, light.colours, strict=True):
            total = total + np.maximum(FRONT @ towards, 0)[:, None] * colour
        exact = np.maximum(total, 1e-4) ** (1 / scenes.GAMMA)
        off = np.abs(seen(harmonics(light, np.ones(3))) - exact)
        assert off.mean() < 0.1 * exact.mean()
