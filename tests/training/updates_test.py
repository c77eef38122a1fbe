"""The two updates at a small scale: who changes, what is compiled, and what flows where."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import short_recognizer
from jax.interpreters import partial_eval
from jax.sharding import Mesh

from focus_jax import forward, losses
from focus_jax.face_models import load_face_model
from focus_jax.networks.encoder import Encoder
from focus_jax.networks.segmenter import Segmenter
from focus_jax.system import sharding
from focus_jax.training import renderings, updates
from focus_jax.training.optim import make_optimizer
from focus_jax.training.presets import RELEASE
from focus_jax.training.schedule import Schedule, terms_at
from focus_jax.training.train import initial_state, new_state
from focus_jax.types import Batch
from focus_jax.weights import recognizer

SCHEDULE = Schedule(warmup=1, initialisation=1, pretraining=1, joint=4, period=4, segmenter_steps=2)
RATE = {"rate": 1e-2, "decay": 1.0, "every": 10}
RATES = dict.fromkeys(("initialisation", "pretraining", "autoencoder", "segmenter"), RATE)
SIZE = 32
# Steps whose programs take long to compile: of the segmenter, and of the joint autoencoder.
SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (3, 5)]


@pytest.fixture(scope="module", autouse=True)
def short():
    """A frozen recognizer of few layers: how it tells faces apart counts nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        short_recognizer.shorten(patch)
        yield


@pytest.fixture(scope="module")
def face_model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin", identity=4, expression=3, albedo=3))


@pytest.fixture(scope="module")
def method(face_model):
    return updates.Method(
        forward.Networks(
            encoder=Encoder(
                forward.widths(face_model).outputs,
                stage_sizes=(1,),
                width=8,
                bottleneck=False,
                large_stem=False,
            ),
            segmenter=Segmenter(width=4, stem="space_to_depth", dropout=0.2),
        ),
        encoder_optimizer=make_optimizer("adam"),
        segmenter_optimizer=make_optimizer("adam"),
        forms=updates.LossForms(perceptual_features="shallow"),
    )


@pytest.fixture(scope="module")
def constants(face_model):
    return updates.Constants(face_model, recognizer.load_recognizer("dlib"), jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(8, 24, 17), np.linspace(10, 22, 4))
    points = np.stack([x.ravel(), y.ravel()], axis=-1)[None]
    return Batch(
        image=rng.random((4, SIZE, SIZE, 3), np.float32),
        landmarks=np.repeat(points, 4, axis=0).astype(np.float32),
        index=np.arange(4, dtype=np.int32),
    )


@pytest.fixture
def state(method, face_model, batch):
    return initial_state(method, face_model, batch, 0)


def step(state, batch, constants, method, number, table=RELEASE):
    terms = terms_at(number, SCHEDULE, table, RATES)
    update = updates.update_segmenter if number in (2, 3, 4) else updates.update_autoencoder
    return update(state, batch, constants, terms, method=method)


def changed(before, after):
    same = jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), before, after)
    return not all(jax.tree.leaves(same))


def operations(jaxpr):
    """Name, shapes of the inputs and of the (first) output of all that a program computes."""
    for equation in jaxpr.eqns:
        inner = [x for x in jax.tree.leaves(list(equation.params.values())) if hasattr(x, "eqns")]
        for program in inner:
            yield from operations(program)
        if not inner:
            shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
            yield equation.primitive.name, shapes, equation.outvars[0].aval.shape


# In the joint stage: the segmenter's step, and the autoencoder's.
JOINT = {"segmenter": 3, "encoder": 5}


@pytest.fixture(scope="module")
def shapes(method, face_model, batch):
    return jax.eval_shape(lambda: new_state(method, face_model, batch, 0))


@pytest.fixture(scope="module")
def programs(shapes, batch, constants, method):
    """Of each network's joint step: all operations, without those whose results nothing needs."""
    found = {}
    for network, number in JOINT.items():
        one = functools.partial(step, method=method, number=number)
        (call,) = jax.make_jaxpr(one)(shapes, batch, constants).jaxpr.eqns
        program = call.params["jaxpr"].jaxpr
        needed, _ = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
        found[network] = list(operations(needed))
    return found


@pytest.mark.parametrize(("trained", "idle"), [("segmenter", "encoder"), ("encoder", "segmenter")])
def test_only_the_trained_network_gets_gradients_of_its_kernels(trained, idle, shapes, programs):
    def kernels(network):
        leaves = jax.tree.leaves(getattr(shapes, network)["params"])
        return {tuple(sorted(x.shape)) for x in leaves if x.ndim == 4 and x.shape[0] > 1}

    products = ("conv_general_dilated", "dot_general")
    found = {tuple(sorted(shape)) for name, _, shape in programs[trained] if name in products}
    assert kernels(trained) & found  # or nothing would be seen at all
    assert not (kernels(idle) - kernels(trained)) & found


@pytest.mark.parametrize(("trained", "pictures"), [("segmenter", 3), ("encoder", 2)])
def test_the_recognizer_sees_each_picture_once(trained, pictures, programs, constants, batch):
    """Photo, masked photo and masked rendering; photo and rendering."""
    height, width, channels, _ = constants.recognizer["params"]["conv0"]["kernel"].shape
    # On CPU the first convolution, of stride 2, is computed on blocks of 2 x 2 pixels.
    first = (-(-height // 2), -(-width // 2), 4 * channels)
    seen = [
        inputs[0][0]
        for name, inputs, _ in programs[trained]
        if name == "conv_general_dilated" and inputs[1][:3] == first
        if inputs[0][3] == first[2]  # not its gradient
    ]
    assert sum(seen) == pictures * len(batch.image)


def test_the_segmenters_step_draws_without_gradients(programs):
    calls = {k: sum("ffi" in name for name, *_ in program) for k, program in programs.items()}
    assert 0 < calls["segmenter"] < calls["encoder"]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_autoencoder_learns_and_the_segmenter_rests(number, state, batch, constants, method):
    before = jax.device_get(state)
    after, values = step(state, batch, constants, method, number)
    assert changed(before.encoder["params"], after.encoder["params"])
    assert changed(before.encoder["batch_stats"], after.encoder["batch_stats"])
    assert not changed(before.segmenter, after.segmenter)
    assert not changed(before.segmenter_optimizer, after.segmenter_optimizer)
    assert int(after.step) == 1 and all(np.isfinite(v) for v in values.values())


@pytest.mark.parametrize("number", [2, 3])
def test_the_segmenter_learns_and_the_autoencoder_rests(number, state, batch, constants, method):
    before = jax.device_get(state)
    after, values = step(state, batch, constants, method, number)
    assert changed(before.segmenter["params"], after.segmenter["params"])
    assert not changed(before.encoder, after.encoder)
    assert not changed(before.encoder_optimizer, after.encoder_optimizer)
    assert all(np.isfinite(v) for v in values.values())


@pytest.mark.parametrize("number", [0, 3])
def test_an_update_that_is_not_finite_changes_the_step_alone(
    number, state, batch, constants, method
):
    image = batch.image.copy()
    image[1, 5, 7] = np.nan
    before = jax.device_get(state)
    after, values = step(state, dataclasses.replace(batch, image=image), constants, method, number)
    assert not values["finite"] and int(after.step) == int(before.step) + 1
    assert not changed(dataclasses.replace(before, step=after.step), after)


def test_each_kind_of_step_is_compiled_once(state, batch, constants, method):
    for number in (0, 1, 5, 2, 3):
        state, _ = step(state, batch, constants, method, number)
    sizes = updates.update_autoencoder._cache_size(), updates.update_segmenter._cache_size()
    for number in (0, 1, 5, 2, 3):
        state, _ = step(state, batch, constants, method, number)
    assert sizes == (
        updates.update_autoencoder._cache_size(),
        updates.update_segmenter._cache_size(),
    )


@pytest.mark.parametrize("number", [0, 3])
def test_an_update_takes_over_the_memory_of_the_old_state(number, state, batch, constants, method):
    before = jax.tree.leaves((state.encoder, state.segmenter, state.encoder_optimizer))
    step(state, batch, constants, method, number)
    assert all(x.is_deleted() for x in before)


@pytest.mark.parametrize("number", [0, *SLOW])
def test_computing_maps_anew_changes_nothing(number, state, batch, constants, method, face_model):
    remat = dataclasses.replace(
        method,
        networks=dataclasses.replace(
            method.networks,
            encoder=method.networks.encoder.clone(remat=True),
            segmenter=method.networks.segmenter.clone(remat=True),
        ),
        remat=True,
    )
    again = initial_state(remat, face_model, batch, 0)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    _, values = step(state, batch, constants, method, number)
    _, same = step(again, batch, constants, remat, number)
    for name, value in values.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("number", [0, *SLOW])
def test_a_batch_in_equal_parts_gives_the_step_of_a_part(number, state, batch, constants, method):
    twice = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), batch)
    optimizer = make_optimizer("adadelta")
    whole = dataclasses.replace(method, encoder_optimizer=optimizer)
    moments = optimizer.init(state.encoder["params"])
    state = dataclasses.replace(state, encoder_optimizer=moments)
    copy = jax.tree.map(jnp.copy, state)
    expected, values = step(state, batch, constants, whole, number)
    halves = dataclasses.replace(whole, parts=2)
    found, same = step(copy, twice, constants, halves, number)
    for name, value in values.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        found.encoder["params"],
        expected.encoder["params"],
    )


def test_parts_that_do_not_divide_a_batch_are_refused(state, batch, constants, method):
    with pytest.raises(ValueError, match="does not divide into 3 parts"):
        step(state, batch, constants, dataclasses.replace(method, parts=3), 0)


@pytest.mark.parametrize("number", [0, *SLOW])
def test_bfloat16_is_near_and_leaves_the_state_float32(
    number, state, batch, constants, method, face_model
):
    kinds = jax.tree.map(lambda x: x.dtype, state)
    copy = jax.tree.map(jnp.copy, state)
    _, values = step(state, batch, constants, method, number)
    networks = dataclasses.replace(method.networks, dtype="bfloat16")
    low_method = dataclasses.replace(method, networks=networks)
    after, low = step(copy, batch, constants, low_method, number)
    assert jax.tree.map(lambda x: x.dtype, after) == kinds
    assert all(x.dtype == (jnp.bool_ if n == "finite" else jnp.float32) for n, x in low.items())
    np.testing.assert_allclose(low["loss"], values["loss"], rtol=0.05)
    assert low["gradient"] != values["gradient"]


# Twice as many as there are photos; nothing but their coefficients counts.
TOLD = {**dict.fromkeys(RELEASE, 0.0), "coefficients": 1.0}


@pytest.fixture(scope="module")
def told(batch):
    rng = np.random.default_rng(1)
    renderings = Batch(
        image=rng.random((8, SIZE, SIZE, 3), np.float32),
        landmarks=np.repeat(batch.landmarks, 2, axis=0),
        index=np.arange(8, dtype=np.int32),
        coefficients=rng.standard_normal((8, 10)).astype(np.float32),
    )
    return dataclasses.replace(batch, renderings=renderings)


def test_the_encoder_learns_the_coefficients_of_renderings(state, batch, told, constants, method):
    seen = renderings.with_renderings(told).image.reshape(4, 3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(seen[:, 0], told.image)
    np.testing.assert_array_equal(seen[:, 1:].reshape(8, SIZE, SIZE, 3), told.renderings.image)
    errors = []
    for _ in range(20):
        state, values = step(state, told, constants, method, 0, TOLD)
        errors.append(float(values["coefficients"]))
        assert values["loss"] == values["coefficients"]
    schedule = dataclasses.replace(SCHEDULE, renderings=1)
    terms = terms_at(0, schedule, TOLD, RATES)
    alone = initial_state(method, constants.face_model, batch, 0)
    for _ in range(20):
        alone, values = renderings.update_on_renderings(
            alone, told.renderings, constants, terms, method=method
        )
    assert int(alone.step) == 20 and values["coefficients"] < 0.8 * errors[0]
    # The encoder begins with the mean face.
    basis = constants.face_model.identity_basis, constants.face_model.expression_basis
    weights = losses.coefficient_weights(*basis, constants.face_model.albedo_basis)
    true = told.renderings.coefficients
    np.testing.assert_allclose(errors[0], np.mean(np.sum(weights * true**2, -1)), rtol=1e-4)
    assert errors[-1] < 0.8 * errors[0]


def test_the_mask_carries_a_gradient_to_the_encoder_unless_detached(
    state, batch, constants, method, face_model
):
    raw = 0.1 * jax.random.normal(jax.random.key(1), (4, forward.widths(face_model).outputs))
    fitting = updates.Terms({}, jnp.zeros(()), jnp.zeros(()), segmenter_mask=True)

    # Compiled as one: operation by operation, each would be compiled for itself.
    @functools.partial(jax.jit, static_argnames="detach")
    @jax.grad
    def area(raw, detach):
        forms = dataclasses.replace(method.forms, detach_mask=detach)
        code = forward.decode(raw, forward.widths(face_model), method.networks.decoding)
        face = forward.reconstruct(code, face_model, SIZE, SIZE)
        terms, _ = updates.autoencoder_terms(
            dataclasses.replace(method, forms=forms),
            constants,
            batch,
            face,
            state.segmenter,
            fitting,
        )
        return terms["autoencoder_area"]

    assert jnp.abs(area(raw, detach=False)).max() > 0
    assert jnp.abs(area(raw, detach=True)).max() == 0


def test_a_pasted_occluder_is_shown_but_not_fitted(state, batch, constants, method):
    """The encoder sees the photo with it; its loss is that of the photo without."""
    clean = dataclasses.replace(batch, image=batch.image * 0.5, clean=batch.image)
    code = forward.decode(
        jnp.zeros((4, forward.widths(constants.face_model).outputs)),
        forward.widths(constants.face_model),
        method.networks.decoding,
    )
    face = forward.reconstruct(code, constants.face_model, SIZE, SIZE)
    wanted = terms_at(0, SCHEDULE, RELEASE, RATES)
    (one, _), (other, _), (dark, _) = (
        updates.autoencoder_terms(method, constants, b, face, state.segmenter, wanted)
        for b in (batch, clean, dataclasses.replace(clean, clean=None))
    )
    assert one["photometric"] == other["photometric"] != dark["photometric"]
    assert one["robust"] == other["robust"] != dark["robust"]


def test_the_segmenter_is_told_of_pasted_occluders_only_on_request(batch, constants, method):
    sizes = forward.widths(constants.face_model)
    raw = jnp.zeros((4, sizes.outputs))
    code = forward.decode(raw, sizes, method.networks.decoding)
    face = forward.reconstruct(code, constants.face_model, SIZE, SIZE)
    logits = jnp.zeros((4, SIZE, SIZE, 1))
    mask = 0.5 * face.rendering.coverage
    half = np.zeros((4, SIZE, SIZE, 1), np.float32)
    half[:, : SIZE // 2] = 1
    told = dataclasses.replace(batch, pasted=half)

    def terms(given, number, weight):
        wanted = terms_at(number, SCHEDULE, {**RELEASE, "pasted": weight}, RATES).weights
        return updates.segmenter_terms(method, constants, given, face, mask, logits, wanted)

    for number in (2, 4):  # pre-training and joint stage
        assert "pasted" not in terms(told, number, 0.0)
        expected = losses.pasted(logits, half, face.rendering.coverage)
        assert terms(told, number, 1.0)["pasted"] == expected > 0
        with pytest.raises(ValueError, match=r"set config\.data\.paste above 0"):
            terms(batch, number, 1.0)


@pytest.mark.parametrize(("number", "network"), [(0, "encoder"), (3, "segmenter")])
def test_one_and_four_devices_take_the_same_step(number, network, state, told, constants, method):
    batch = told if network == "encoder" else dataclasses.replace(told, renderings=None)
    table = {**RELEASE, "coefficients": 1.0}
    if len(jax.devices()) < 4:
        pytest.skip("four virtual devices are needed: XLA_FLAGS was set otherwise")
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    placed = sharding.replicate((state, constants), mesh)
    one, values = step(jax.tree.map(jnp.copy, state), batch, constants, method, number, table)
    with jax.set_mesh(mesh):
        split = sharding.split(batch, mesh)
        four, same = step(placed[0], split, placed[1], method, number, table)
    for name, value in values.items():
        # The gradient's length is the root of a sum over all parameters, which differ by more.
        np.testing.assert_allclose(same[name], value, rtol=3e-5, atol=1e-6, err_msg=name)

    # Batch statistics are of the whole batch, and so is the gradient, a tenth of which is Adam's
    # first moment. Not the parameters: its first step is the gradient's sign, which rounding may
    # decide.
    def made(state):
        (moments, *_) = getattr(state, f"{network}_optimizer")
        return jax.device_get((getattr(state, network)["batch_stats"], moments.mu))

    for found, expected in zip(made(four), made(one), strict=True):
        atol = 1e-5 * max(np.abs(x).max() for x in jax.tree.leaves(expected))
        jax.tree.map(
            lambda x, y, atol=atol: np.testing.assert_allclose(x, y, rtol=1e-3, atol=atol),
            found,
            expected,
        )


def test_predictions_change_nothing_and_masks_lie_inside_the_face(state, batch, constants, method):
    found = updates.predict(state, batch, constants, method=method)
    coverage = found.face.rendering.coverage
    assert found.mask.shape == coverage.shape == (4, SIZE, SIZE, 1)
    assert ((found.mask > 0) <= (coverage > 0)).all() and coverage.sum() > 0


def test_dense_landmarks_count_where_the_face_model_has_them_and_nothing_hides_them(
    state, batch, constants, method
):
    """Also under what was pasted on, which was not there when they were found."""
    none = {"dense_landmark_vertices": None, "dense_landmark_weights": None}
    model = dataclasses.replace(constants.face_model, **none)
    chosen = np.resize(np.arange(27, 60), 478)  # nose, eyes and mouth, well inside the face
    places, shares = model.landmark_vertices[chosen], model.landmark_weights[chosen]
    has = dataclasses.replace(model, dense_landmark_vertices=places, dense_landmark_weights=shares)
    code = forward.decode(
        jnp.zeros((4, forward.widths(model).outputs)),
        forward.widths(model),
        method.networks.decoding,
    )
    face = forward.reconstruct(code, model, SIZE, SIZE)
    moved = face.landmarks[:, chosen] + 1.0
    right = dataclasses.replace(batch, landmarks=face.landmarks, dense_landmarks=None)
    wanted = dataclasses.replace(terms_at(0, SCHEDULE, RELEASE, RATES), true_mask=True)

    def error(model, **changes):
        given = dataclasses.replace(right, **changes)
        own = constants._replace(face_model=model)
        terms, _ = updates.autoencoder_terms(method, own, given, face, state.segmenter, wanted)
        return float(terms["landmark"])

    seen = jnp.ones((4, SIZE, SIZE, 1))
    assert error(has, mask=seen) < 1e-6
    assert error(has, mask=seen, dense_landmarks=moved) > 0.01
    assert error(model, mask=seen, dense_landmarks=moved) < 1e-6
    assert error(has, mask=0 * seen, dense_landmarks=moved) < 1e-6
    assert error(has, mask=0 * seen, pasted=seen, dense_landmarks=moved) > 0.01
