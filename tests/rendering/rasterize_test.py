import functools
import os
import pathlib
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scenes

from focus_jax.rendering import rasterize

warp = pytest.importorskip("warp")

BACKENDS = ["warp", "jnp"]
ROOT = pathlib.Path(__file__).parents[2]


def brute_force(screen, triangles, height, width):
    """The rules, word by word, in float64."""
    index = np.full((height, width), -1)
    nearest = np.full((height, width), np.inf)
    py, px = np.mgrid[:height, :width].astype(float)
    for i, (a, b, c) in enumerate(screen[triangles].astype(float)):
        weights = [
            (q[0] - px) * (p[1] - py) - (p[0] - px) * (q[1] - py)
            for p, q in ((b, c), (c, a), (a, b))
        ]
        area = sum(weights)
        if not area.max() > 0:
            continue
        depth = sum(w * p[2] for w, p in zip(weights, (a, b, c), strict=True)) / area
        inside = np.all([w >= 0 for w in weights], 0) & (depth < nearest)
        index[inside], nearest[inside] = i, depth[inside]
    return index


@functools.cache
def example(batch=2, height=24, width=32, channels=4, seed=0):
    screen, triangles = scenes.scene("soup", seed, batch, height, width)
    attributes = np.random.default_rng(seed).normal(size=(batch, screen.shape[1], channels))
    return jnp.array(screen), jnp.array(triangles), jnp.array(attributes, jnp.float32)


def loss_of(triangles, height, width, **options):
    cotangent = np.random.default_rng(9).normal(size=(height, width, 1))

    def loss(screen, attributes):
        image, _ = rasterize.render(screen, triangles, attributes, height, width, **options)
        return jnp.sum(jnp.sin(image) * cotangent.astype(image.dtype))

    return loss


# --- Rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["soup", "integers", "large"])
def test_index_map_follows_the_rules(backend, kind):
    screen, triangles = scenes.scene(kind, 3, 2, 20, 28)
    # Quarters, so that float32 and float64 agree about every edge.
    screen[..., :2] = np.round(screen[..., :2] * 4) / 4
    found = rasterize.rasterize(screen, triangles, 20, 28, backend).triangle_id
    expected = [brute_force(one, triangles, 20, 28) for one in screen]
    # float32 and float64 round differently what is equal on common edges of tilted triangles.
    assert np.mean(found != np.stack(expected)) < 0.002


@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbours_share_edges_without_gaps(backend):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-2:40:1.3, -2:40:1.3]
    positions = np.stack([x, y, np.full_like(x, 50)], -1)
    positions[..., :2] += rng.random((*x.shape, 2)) * 0.6
    screen = positions.reshape(1, -1, 3).astype(np.float32)
    fragments = rasterize.rasterize(screen, scenes.grid(*x.shape), 38, 38, backend)
    assert fragments.triangle_id.min() >= 0
    np.testing.assert_allclose(fragments.barycentric.sum(-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inclusive_edges_culling_and_ties(backend):
    square = jnp.array([[[1, 1, 5], [1, 4, 5], [4, 4, 5], [4, 1, 5]]], jnp.float32)
    front = jnp.array([[0, 1, 2], [0, 2, 3], [0, 1, 2]])
    index = rasterize.rasterize(square, front, 6, 6, backend).triangle_id[0]
    expected = np.full((6, 6), -1)
    expected[1:5, 1:5] = np.where(np.arange(4)[:, None] >= np.arange(4), 0, 1)
    np.testing.assert_array_equal(index, expected)
    assert rasterize.rasterize(square, front[:, ::-1], 6, 6, backend).triangle_id.max() == -1


@pytest.mark.filterwarnings("ignore:.*reach behind the camera")
@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("kind", scenes.KINDS)
def test_backends_see_the_same_triangles(kind, perspective):
    """300 scenes: 25 of each of 12 kinds, each kind at a size of its own. No pixel differs."""
    height, width = 17 + 3 * scenes.KINDS.index(kind), 61 - 4 * scenes.KINDS.index(kind)
    screen, triangles = scenes.scene(kind, 0, 25, height, width)
    options = {"perspective": perspective}
    a = rasterize.rasterize(screen, triangles, height, width, "warp", **options)
    b = rasterize.rasterize(screen, triangles, height, width, "jnp", **options)
    np.testing.assert_array_equal(a.triangle_id, b.triangle_id)
    np.testing.assert_allclose(a.barycentric, b.barycentric, atol=1e-6)
    if kind not in ("points", "slivers"):
        assert np.mean(np.asarray(a.triangle_id) >= 0) > 0.01


@pytest.mark.slow
def test_backends_see_the_same_triangles_when_optimized():
    """The 300 scenes again as users compile them: tests turn XLA's optimizations off."""
    code = (
        "import sys; sys.path[:0] = ['.', 'tests']\n"
        "from tests.rendering import rasterize_test as tests\n"
        "for kind in tests.scenes.KINDS: tests.test_backends_see_the_same_triangles(kind, True)"
    )
    environment = {**os.environ, "XLA_FLAGS": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT)


def test_many_pairs_in_few_triangles():
    """The jnp path tests pairs in rounds of limited size, and in step when they are too many."""
    screen, triangles = scenes.scene("large", 1, 1, 30, 30)
    a = rasterize.rasterize(screen, triangles, 30, 30, "warp").triangle_id
    np.testing.assert_array_equal(a, rasterize.rasterize(screen, triangles, 30, 30, "jnp")[0])


# --- Gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("perspective", [False, True])
def test_gradient_is_that_of_central_differences(perspective):
    screen, triangles, attributes = example(height=12, width=16)
    with jax.enable_x64(True):
        screen, attributes = screen.astype(jnp.float64), attributes.astype(jnp.float64)
        fragments = rasterize.rasterize(screen, triangles, 12, 16)
        cotangent = np.random.default_rng(0).normal(size=(2, 12, 16, 4))

        @jax.jit
        def loss(screen, attributes):  # the triangles stay those that win
            image = rasterize.interpolate(
                fragments, screen, triangles, attributes, perspective=perspective
            )
            return jnp.sum(image * cotangent)

        gradients = jax.grad(loss, (0, 1))(screen, attributes)
        rng, step = np.random.default_rng(1), 1e-6
        for _ in range(5):
            ds, da = rng.normal(size=screen.shape), rng.normal(size=attributes.shape)
            ahead = loss(screen + step * ds, attributes + step * da)
            difference = ahead - loss(screen - step * ds, attributes - step * da)
            expected = jnp.sum(gradients[0] * ds) + jnp.sum(gradients[1] * da)
            np.testing.assert_allclose(difference / (2 * step), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "perspective, deterministic, channels", [(0, 0, 3), (0, 1, 3), (1, 0, 1), (1, 1, 7)]
)
def test_kernel_gradient_is_that_of_float64(perspective, deterministic, channels):
    screen, triangles, attributes = example(channels=channels)
    options = {"perspective": bool(perspective), "deterministic": bool(deterministic)}
    loss = loss_of(triangles, 24, 32, backend="warp", **options)
    found = jax.jit(jax.grad(loss, (0, 1)))(screen, attributes)
    with jax.enable_x64(True):
        loss = loss_of(triangles, 24, 32, backend="jnp", **options)
        exact = screen.astype("float64"), attributes.astype("float64")
        expected = jax.jit(jax.grad(loss, (0, 1)))(*exact)
    for a, b in zip(found, expected, strict=True):
        assert np.linalg.norm(np.asarray(a) - np.asarray(b)) <= 1e-4 * np.linalg.norm(b)


def test_render_is_rasterize_and_interpolate():
    screen, triangles, attributes = example()
    for backend in BACKENDS:
        image, triangle_id = rasterize.render(screen, triangles, attributes, 24, 32, backend)
        fragments = rasterize.rasterize(screen, triangles, 24, 32, backend)
        np.testing.assert_array_equal(triangle_id, fragments.triangle_id)
        again = rasterize.interpolate(fragments, screen, triangles, attributes, backend=backend)
        np.testing.assert_array_equal(image, again)
        corners = attributes[np.arange(2)[:, None, None, None], triangles[fragments.triangle_id]]
        by_hand = jnp.sum(fragments.barycentric[..., None] * corners, -2)
        np.testing.assert_allclose(image, by_hand, atol=1e-5)


@pytest.mark.parametrize("perspective", [False, True])
def test_triangles_that_moved_since_have_the_values_of_their_plane(perspective):
    screen, triangles, attributes = example(batch=1)
    fragments = rasterize.rasterize(screen, triangles, 24, 32)
    turned = screen * jnp.array([-1.0, 1.0, 1.0])
    at_one_point = screen * jnp.array([0.0, 0.0, 1.0]) + 3.0
    for moved in (turned, at_one_point):

        def image(backend, screen, attributes):
            options = {"backend": backend, "perspective": perspective}
            return rasterize.interpolate(fragments, screen, triangles, attributes, **options)

        found, pulls = zip(
            *(jax.vjp(functools.partial(image, b), moved, attributes) for b in BACKENDS),
            strict=True,
        )
        gradients = [pull(jnp.ones_like(found[0])) for pull in pulls]
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((found, gradients)))
        if moved is at_one_point:
            np.testing.assert_array_equal(found[0], 0)
        np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-3)
        for one, other in zip(*gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2 * np.abs(one).max())


def test_perspective_correct_weights():
    # A line halfway to a point twice as far appears two thirds along the way.
    screen = jnp.array([[[0, 0, 1], [0, 6, 1], [6, 0, 2]]], jnp.float32)
    triangles = jnp.array([[0, 1, 2]])
    for backend in BACKENDS:
        options = {"backend": backend, "perspective": True}
        weights = rasterize.rasterize(screen, triangles, 7, 7, **options).barycentric
        np.testing.assert_allclose(weights[0, 0, 4], [0.5, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_steep_triangles_hide_each_other_as_rays_meet_them(backend):
    """Two triangles that cross in depth: who is in front of whom, by the rays themselves."""
    rng = np.random.default_rng(3)
    size, focal = 48, 40.0
    pixel = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) - (size - 1) / 2
    rays = np.concatenate([pixel / focal, np.ones((size, size, 1))], -1)
    wrong, affine, both = 0, 0, 0
    for _ in range(100):
        depth = rng.uniform(1, 12, (6, 1))
        points = np.concatenate([rng.uniform(-0.7, 0.7, (6, 2)) * depth, depth], -1)
        screen = np.concatenate([focal * points[:, :2] / depth + (size - 1) / 2, depth], -1)
        screen = jnp.asarray(screen[None], jnp.float32)
        triangles = np.array([[0, 1, 2], [3, 4, 5]])
        for k, (a, b, c) in enumerate(np.asarray(screen[0, :, :2], float)[triangles]):
            if np.linalg.det([b - a, c - a]) > 0:  # seen from behind
                triangles[k] = triangles[k][::-1]
        normals = [np.cross(q - p, r - p) for p, q, r in points[triangles]]
        met = [n @ points[t[0]] / (rays @ n) for n, t in zip(normals, triangles, strict=True)]
        ids = [
            np.asarray(rasterize.rasterize(screen, t, size, size, backend).triangle_id[0]) >= 0
            for t in triangles[:, None]
        ]
        sure = ids[0] & ids[1] & (np.abs(met[0] - met[1]) > 1e-4 * met[0])
        nearest = np.where(met[0] < met[1], 0, 1)
        for perspective in (False, True):
            found = rasterize.rasterize(
                screen, jnp.asarray(triangles), size, size, backend, perspective=perspective
            )
            differs = int((np.asarray(found.triangle_id[0]) != nearest)[sure].sum())
            wrong, affine = (wrong + differs, affine) if perspective else (wrong, affine + differs)
        both += int(sure.sum())
    assert both > 2000 and affine > 0.03 * both and wrong == 0, (both, affine, wrong)


def test_triangles_that_reach_behind_the_camera_are_told_of():
    screen = jnp.array([[[1, 1, 5], [1, 4, 5], [4, 4, -1], [4, 1, -2], [2, 2, -3]]], jnp.float32)
    triangles = jnp.array([[0, 1, 2], [0, 2, 3], [2, 3, 4]])
    with pytest.warns(UserWarning, match="2 triangles reach behind the .* with camera.clip_near"):
        rasterize.rasterize(screen, triangles, 6, 6)
    with pytest.warns(UserWarning, match="2 triangles reach behind"):
        rasterize.render(screen, triangles, screen, 6, 6)
    rasterize.rasterize(screen, triangles[2:], 6, 6)  # wholly behind: nothing is missing


def test_unseen_nan_does_not_spread():
    screen, triangles, attributes = example()
    screen, attributes = screen.at[0, 7].set(jnp.nan), attributes.at[0, 7].set(jnp.nan)
    for backend in BACKENDS:
        loss = loss_of(triangles, 24, 32, backend=backend)
        value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(screen, attributes)
        assert all(np.isfinite(x).all() for x in (value, *gradients))


# --- Transformations -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_folds_into_the_batch(backend):
    screen, triangles, attributes = example(batch=6)
    loss = loss_of(triangles, 24, 32, backend=backend)
    stacked = screen.reshape(3, 2, *screen.shape[1:]), attributes.reshape(3, 2, -1, 4)
    expected = jax.grad(loss, (0, 1))(screen, attributes)
    for found in (
        jax.vmap(jax.grad(loss, (0, 1)))(*stacked),
        jax.jit(jax.grad(lambda s, a: jax.vmap(loss)(s, a).sum(), (0, 1)))(*stacked),
        jax.lax.scan(lambda _, x: (_, jax.grad(loss, (0, 1))(*x)), None, stacked)[1],
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.reshape(b.shape), b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_over_some_arguments(backend):
    screen, triangles, attributes = example()
    rolled = jnp.stack([triangles, triangles[::-1]])

    def image(screen, triangles):
        return rasterize.render(screen, triangles, attributes, 24, 32, backend)[0]

    both = jax.vmap(image, (None, 0))(screen, rolled)
    np.testing.assert_allclose(both[1], image(screen, rolled[1]), atol=1e-6)
    moved = jnp.stack([screen, screen + 1])
    np.testing.assert_array_equal(
        jax.vmap(image, (0, None))(moved, triangles)[1], image(*(moved[1], triangles))
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_sharded_batches_stay_on_their_devices(backend):
    screen, triangles, attributes = example(batch=8)
    loss = loss_of(triangles, 24, 32, backend=backend)
    image = functools.partial(rasterize.render, height=24, width=32, backend=backend)
    functions = (
        lambda s, a: image(s, triangles, a),
        jax.grad(loss, (0, 1)),
    )
    expected = [jax.jit(f)(screen, attributes) for f in functions]
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    explicit = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    for each in (mesh, explicit):
        with jax.set_mesh(each):
            spec = jax.sharding.PartitionSpec("data")
            arguments = jax.device_put((screen, attributes), jax.NamedSharding(each, spec))
            for function, result in zip(functions, expected, strict=True):
                compiled = jax.jit(function).lower(*arguments).compile()
                text = compiled.as_text()
                assert not any(word in text for word in ("all-gather", "all-to-all", "permute"))
                found = compiled(*arguments)
                jax.tree.map(np.testing.assert_array_equal, found, result)
                assert all(len(x.sharding.device_set) == 4 for x in jax.tree.leaves(found))


def test_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    from focus_jax.rendering import rasterize_warp

    screen, triangles, attributes = example(batch=5)
    loss = loss_of(triangles, 24, 32, backend="warp")
    results = []
    for cores in (1, 3):
        monkeypatch.setattr(rasterize_warp, "_cores", lambda cores=cores: cores)
        results.append(jax.value_and_grad(loss, (0, 1))(screen, attributes))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_order_of_cuda_threads_does_not_matter():
    """One thread a triangle, as on CUDA, started in any order."""
    from focus_jax.rendering import rasterize_kernels as kernels

    screen, triangles = scenes.scene("integers", 0, 1, 30, 40)
    expected = rasterize.rasterize(screen, triangles, 30, 40, "jnp").triangle_id[0]
    points = warp.array(screen, dtype=warp.vec3, device="cpu")
    for order in (1, -1):
        nearest = warp.empty((1, 30, 40), dtype=warp.int64, device="cpu")
        warp.launch(kernels.clear_nearest, (1, 30, 40), [nearest], device="cpu")
        corners = warp.array(triangles, dtype=warp.vec3i, device="cpu")
        # Launches of the first `last` triangles only, so that later ones differ.
        for last in range(0, len(triangles) + 1, 20)[::order]:
            inputs = [points, corners[:last] if last else corners[:1], 0, nearest]
            warp.launch(kernels.draw_triangles, (1, max(last, 1)), inputs, device="cpu")
        found = nearest.numpy()[0].astype(np.int32)
        np.testing.assert_array_equal(found, expected)


def test_cuda_gives_what_the_cpu_gives():
    """Where a GPU is: `JAX_PLATFORMS=cuda,cpu python -m pytest -k cuda` with this file."""
    try:
        devices = jax.devices("cuda")[0], jax.devices("cpu")[0]
    except RuntimeError as error:
        pytest.skip(f"no GPU: {error}")
    screen, triangles = scenes.scene("soup", 0, 4, 96, 96)
    attributes = np.random.default_rng(0).random((4, screen.shape[1], 3), np.float32)
    results = []
    for device in devices:
        given = jax.device_put((screen, triangles, attributes), device)
        for backend, deterministic in (("warp", False), ("warp", True), ("jnp", False)):
            options = {"backend": backend, "deterministic": deterministic}
            loss = loss_of(given[1], 96, 96, **options)
            found = jax.jit(jax.grad(loss, (0, 1)))(given[0], given[2])
            if deterministic:
                again = jax.jit(jax.grad(loss, (0, 1)))(given[0], given[2])
                jax.tree.map(np.testing.assert_array_equal, again, found)
            image, index = rasterize.render(*given, 96, 96, backend)
            assert index.devices() == {device}
            results.append(jax.tree.map(np.asarray, (found, image, index)))
    for gradients, image, index in results[:-1]:
        expected = results[-1]
        np.testing.assert_array_equal(index, expected[2])
        np.testing.assert_allclose(image, expected[1], atol=1e-6)
        for a, b in zip(gradients, expected[0], strict=True):
            assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


# --- Errors and limits ---------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_named():
    screen, triangles, attributes = example()
    render = rasterize.render
    with pytest.raises(ValueError, match=r"vertices 0\.\.60; there are 60"):
        render(screen, triangles.at[3, 1].set(60), attributes, 8, 8)
    with pytest.raises(ValueError, match=r"vertices -1\.\."):
        render(screen, triangles.at[3, 1].set(-1), attributes, 8, 8)
    with pytest.raises(ValueError, match="integers"):
        render(screen, triangles.astype(float), attributes, 8, 8)
    with pytest.raises(ValueError, match=r"\[b v 3\]"):
        render(screen[0], triangles, attributes, 8, 8)
    with pytest.raises(ValueError, match=r"\[t 3\]"):
        render(screen, triangles[:, :2], attributes, 8, 8)
    for k, name in enumerate(("screen_vertices", "triangles", "attributes")):
        given = [screen, triangles, attributes]
        given[k] = given[k].tolist()
        with pytest.raises(ValueError, match=f"{name} must be an array, not list"):
            render(*given, 8, 8)
    with pytest.raises(ValueError, match="attributes"):
        render(screen, triangles, attributes[:1], 8, 8)
    with pytest.raises(ValueError, match="backend"):
        render(screen, triangles, attributes, 8, 8, "cuda")
    with pytest.raises(ValueError, match="pixels"):
        render(screen, triangles, attributes, -1, 8)
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32"):
        render(screen.astype("float64"), triangles, attributes, 8, 8, "warp")


@pytest.mark.parametrize("backend", BACKENDS)
def test_unknown_triangles_that_name_no_vertex_cover_nothing(backend):
    screen, triangles, attributes = example()
    wrong = triangles.at[::2].set(jnp.array([-5, 60, 2**31 - 1]))
    render = jax.jit(functools.partial(rasterize.render, height=24, width=32, backend=backend))
    image, triangle_id = render(screen, wrong, attributes)
    assert np.all(np.asarray(triangle_id) % 2 == 1)
    assert np.isfinite(image).all()


@pytest.mark.parametrize("deterministic", [False, True])
def test_triangles_far_outside_have_no_gradient(deterministic):
    corners = np.array([[1e10, 1, 5], [1e10, 4, 5], [2e10, 4, 5]], np.float32)
    screen = jnp.stack([corners, corners * [-1, -1, 1]])  # their pixels are no int32
    loss = loss_of(jnp.array([[0, 1, 2]]), 8, 8, backend="warp", deterministic=deterministic)
    for gradient in jax.grad(loss, (0, 1))(screen, jnp.ones((2, 3, 1))):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "b, v, t, h, w, c",
    [
        (0, 4, 2, 5, 5, 3),
        (1, 0, 0, 5, 5, 3),
        (1, 4, 0, 5, 5, 3),
        (1, 4, 2, 0, 5, 3),
        (1, 4, 2, 5, 5, 0),
    ],
)
def test_empty_inputs(backend, b, v, t, h, w, c):
    screen, attributes = jnp.ones((b, v, 3)), jnp.ones((b, v, c))
    triangles = jnp.zeros((t, 3), jnp.int32)
    loss = loss_of(triangles, h, w, backend=backend)
    gradients = jax.jit(jax.grad(loss, (0, 1)))(screen, attributes)
    assert gradients[0].shape == screen.shape and gradients[1].shape == attributes.shape
    fragments = rasterize.rasterize(screen, triangles, h, w, backend)
    assert fragments.triangle_id.shape == (b, h, w)
    assert fragments.barycentric.shape == (b, h, w, 3)


floats = st.one_of(
    st.floats(width=32),
    st.floats(-40, 40, width=32),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 3.4e38, 1e-45, float("nan"), float("inf")]),
)


def no_input_crashes(data):
    """Any shapes and values through every operation, forward and backward, on both backends."""
    draw = data.draw
    b, v, t, c = (draw(st.integers(0, top)) for top in (2, 5, 6, 3))
    height, width = draw(st.integers(0, 9)), draw(st.integers(0, 9))

    def array(*shape):
        size = int(np.prod(shape))
        return np.array(draw(st.lists(floats, min_size=size, max_size=size)), "f").reshape(shape)

    screen, attributes, cotangent = array(b, v, 3), array(b, v, c), array(b, height, width, c)
    integers = st.integers(-(2**31), 2**31 - 1) | st.integers(-1, max(v, 1))
    triangles = np.resize(np.array([*draw(st.lists(integers)), 0], np.int32), (t, 3))
    # What a caller may hand to `interpolate`: an index map of other triangles, or of none.
    claimed = np.resize(np.array([*draw(st.lists(integers)), 0], np.int32), (b, height, width))
    options = {"perspective": draw(st.booleans())}
    deterministic = draw(st.booleans())
    indices = []
    for backend in BACKENDS:

        @jax.jit  # traced triangles are not checked before the kernels
        def everything(screen, attributes, triangles, claimed, cotangent, backend=backend):
            def images(screen, attributes):
                some = {**options, "backend": backend, "deterministic": deterministic}
                image, index = rasterize.render(
                    screen, triangles, attributes, height, width, **some
                )
                given = rasterize.Fragments(claimed, jnp.zeros((*claimed.shape, 3)))
                again = rasterize.interpolate(given, screen, triangles, attributes, **some)
                return (image, again), index

            _, backward, index = jax.vjp(images, screen, attributes, has_aux=True)
            found = rasterize.rasterize(screen, triangles, height, width, backend, **options)
            return backward((cotangent, cotangent)), found, index

        gradients, found, index = jax.block_until_ready(
            everything(screen, attributes, triangles, claimed, cotangent)
        )
        assert gradients[0].shape == screen.shape and gradients[1].shape == attributes.shape
        np.testing.assert_array_equal(found.triangle_id, index)
        indices.append(index)
    np.testing.assert_array_equal(*indices)


@hypothesis.settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@hypothesis.given(st.data())
def test_no_input_crashes(data):
    no_input_crashes(data)


@pytest.mark.slow
@hypothesis.settings(
    max_examples=600, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(st.data())
def test_no_input_crashes_long(data):
    no_input_crashes(data)


@hypothesis.settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@hypothesis.given(st.data())
def test_no_value_crashes_the_kernels(data):
    """One shape, compiled once: any bits as positions, any integers as indices."""
    bits = np.random.default_rng(data.draw(st.integers(0, 2**32))).bytes
    screen = np.frombuffer(bits(2 * 7 * 3 * 4), np.float32).reshape(2, 7, 3).copy()
    small = np.frombuffer(bits(screen.size), np.uint8).reshape(screen.shape)
    screen = np.where(data.draw(st.booleans()) & (small % 3 > 0), small / 9, screen).astype("f")
    wild = np.frombuffer(bits(9 * 3 * 4), np.int32).reshape(9, 3)
    triangles = np.where(wild % 8 > 0, wild % 7, wild).astype(np.int32)
    claimed = np.frombuffer(bits(2 * 11 * 13 * 4), np.int32).reshape(2, 11, 13)
    claimed = np.where(claimed % 8 > 0, claimed % 9, claimed).astype(np.int32)
    image, gradients, index = at_one_shape("warp")(screen, triangles, claimed)
    expected = at_one_shape("jnp")(screen, triangles, claimed)[2]
    np.testing.assert_array_equal(index, expected)
    assert image.shape == (2, 11, 13, 2) and gradients[0].shape == screen.shape


@functools.cache
def at_one_shape(backend):
    @jax.jit
    def run(screen, triangles, claimed):
        def image(screen, attributes):
            fragments = rasterize.Fragments(claimed, jnp.zeros((2, 11, 13, 3)))
            return rasterize.interpolate(fragments, screen, triangles, attributes, backend=backend)

        _, index = rasterize.render(screen, triangles, screen[..., :2], 11, 13, backend)
        values, backward = jax.vjp(image, screen, screen[..., :2])
        return values, backward(values), index

    return run


def test_without_warp_it_falls_back_with_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "focus_jax.rendering.rasterize_warp", None)
    monkeypatch.delattr("focus_jax.rendering.rasterize_warp", raising=False)
    rasterize._has_warp.cache_clear()
    screen, triangles, _ = example()
    try:
        with pytest.warns(UserWarning, match="slower") as caught:
            rasterize.rasterize(screen, triangles, 8, 8)
            rasterize.rasterize(screen, triangles, 8, 8)
        assert len(caught) == 1
        with pytest.raises(ValueError, match="warp-lang"):
            rasterize.rasterize(screen, triangles, 8, 8, "warp")
    finally:
        rasterize._has_warp.cache_clear()


def test_kernels_compile_without_a_gpu(tmp_path):
    command = [
        sys.executable,
        "-m",
        "focus_jax.rendering.rasterize_warp",
        "--compile",
        "sm_80",
        "sm_90",
    ]
    done = subprocess.run(
        [*command, "--directory", str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert len(list(tmp_path.glob("*.cubin"))) == 2
    assert done.stdout.count(".cubin") == 2
