"""Where MediaPipe's 478 points lie on a face model: three vertices and their shares for each.

    python third_party/derive_mesh_places.py MODEL OUT.npz [--picture OUT.png]

MODEL is `builtin` or any face model that `load_face_model` reads. Random faces of it are rendered,
frontal and turned, and looked at by the networks; each point found lies on the triangle that its
pixel shows. Its place on the mean face is the median over the renderings that show it from the
front, moved to the surface. OUT.npz gets

    vertices [478 3]  int32, three vertices of a triangle
    weights  [478 3]  float32, their shares, which sum to 1
    spread   [478]    float32, median distance of the renderings' places from it, millimetres
    seen     [478]    float32, share of the renderings that show the point from the front

A point with a large spread or seldom seen is not believed: fits should weigh it by both. The
picture, to be looked at, shows the places on the mean face and, smaller, what was found on it.
"""

import argparse

import cv2
import igl
import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from tqdm import tqdm

from focus_jax.data.face_landmarker import POINTS, face_landmarker
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, geometry, morphable
from focus_jax.rendering.rasterize import rasterize
from focus_jax.rendering.render import render_mesh

SIDE = 512  # pixels of a rendering
BACK = 150.0  # millimetres further away than in training, so that the whole face is in view
FACES = 60
SPREAD = 0.7  # deviations of a random face's coefficients
CALM = 0.5  # of them that expressions keep: points of moving skin slide over a mesh
FRONT = 0.4  # least cosine between a normal and the line of sight
YAW, PITCH = 0.5, 0.2  # radians, at most


def random_face(model, rng):
    """Vertices and albedo, [v 3] each."""
    identity, expression, albedo = (
        jnp.asarray(rng.normal(size=basis.shape[-1]) * SPREAD, jnp.float32)
        for basis in (model.identity_basis, model.expression_basis, model.albedo_basis)
    )
    shape = morphable.vertices(model, identity, CALM * expression)
    return shape, morphable.albedo(model, albedo)


def random_view(rng):
    """A pose [1 6] and grey light [1 27]."""
    pose = jnp.array([[rng.uniform(-PITCH, PITCH), rng.uniform(-YAW, YAW), 0, 0, 0, BACK]])
    light = np.zeros((1, 3, 9), np.float32)
    light[..., 0] = rng.uniform(3.0, 3.8)
    light[..., 1:4] = rng.uniform(-0.6, 0.6, 3)
    return pose.astype(jnp.float32), jnp.asarray(light.reshape(1, 27))


def look(find, model, vertices, albedo, pose, light):
    """Triangles [478] (-1: none, or seen too obliquely), shares [478 3], points, the picture."""
    triangles = jnp.asarray(model.triangles)
    seen = render_mesh(vertices[None], albedo[None], triangles, pose, light, SIDE, SIDE)
    picture = np.asarray(jnp.clip(seen.image + 0.7 * (1 - seen.coverage), 0, 1)[0])
    picture = (255 * picture).astype(np.uint8)
    faces = find(picture)
    if not faces:
        return None
    points = faces[0].points
    fragments = rasterize(seen.screen_vertices, triangles, SIDE, SIDE)
    x, y = np.rint(points[:, :2]).astype(int).T.clip(0, SIDE - 1)
    triangle = np.asarray(fragments.triangle_id)[0, y, x]
    corners = np.asarray(seen.screen_vertices)[0][np.asarray(triangles)[triangle]][..., :2]
    shares = trimesh.triangles.points_to_barycentric(
        np.pad(corners, ((0, 0), (0, 0), (0, 1))), np.pad(points[:, :2], ((0, 0), (0, 1)))
    )
    rotation, translation = camera.extrinsics(pose)
    normals, _ = geometry.triangle_normals(vertices, triangles)
    towards = np.asarray(vertices)[np.asarray(triangles)].mean(1) @ np.asarray(rotation)[0].T
    towards += np.asarray(translation)[0]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    facing = -(np.asarray(normals) @ np.asarray(rotation)[0].T * towards).sum(-1)
    triangle = np.where((triangle >= 0) & (facing[triangle] > FRONT), triangle, -1)
    return triangle, shares, points, picture


def derive(model, find):
    """The four arrays, and the picture of the mean with its points."""
    rng, places = np.random.default_rng(0), []  # the first face is the mean, from the front
    mean, triangles = np.asarray(model.shape_mean, float), np.asarray(model.triangles)
    front = None
    for number in tqdm(range(FACES), unit="face"):
        vertices, albedo = random_face(model, rng)
        pose, light = random_view(rng)
        if number == 0:
            vertices, albedo = jnp.asarray(model.shape_mean), jnp.asarray(model.albedo_mean)
            pose = jnp.zeros((1, 6)).at[0, 5].set(BACK)
        found = look(find, model, vertices, albedo, pose, light)
        if found is None:
            continue
        triangle, shares, points, picture = found
        front = front or (points, picture, pose)
        place = np.einsum("pk,pkc->pc", shares, mean[triangles[triangle]])
        places.append(np.where((triangle >= 0)[:, None], place, np.nan))
    if front is None or len(places) < FACES / 2:
        raise ValueError(f"a face was found in {len(places)} of {FACES} renderings only")
    places = np.array(places)
    seen = np.isfinite(places[..., 0]).mean(0)
    places[:, seen == 0] = mean.mean(0)  # anywhere: `seen` says that they are not known
    middle = np.nanmedian(places, axis=0)
    _, triangle, nearest = igl.point_mesh_squared_distance(middle, mean, triangles)
    weights = trimesh.triangles.points_to_barycentric(mean[triangles[triangle]], nearest)
    spread = np.nanmedian(np.linalg.norm(places - nearest, axis=-1), axis=0)
    arrays = {
        "vertices": triangles[triangle].astype(np.int32),
        "weights": weights.astype(np.float32),
        "spread": np.where(seen > 0, spread, np.inf).astype(np.float32),
        "seen": seen.astype(np.float32),
    }
    return arrays, front


def draw(model, arrays, front):
    """The mean, places green (red where spread by 4 mm or seldom seen), found points white."""
    points, picture, pose = front
    corners = np.asarray(model.shape_mean)[arrays["vertices"]]
    places = jnp.asarray((arrays["weights"][..., None] * corners).sum(1))
    matrix = camera.intrinsics(SIDE, SIDE)
    seen = np.asarray(camera.project(places[None], *camera.extrinsics(pose), matrix))[0, :, :2]
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    doubtful = (arrays["spread"] > 4) | (arrays["seen"] < 0.3)
    for number in range(POINTS):
        colour = (220, 30, 30) if doubtful[number] else (30, 200, 60)
        for place, size, shade in ((seen, 3, colour), (points, 1, (255, 255, 255))):
            x, y = np.rint(2 * place[number, :2] + 0.5).astype(int).tolist()
            cv2.circle(large, (x, y), size, shade, -1)
    return large


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--picture")
    options = parser.parse_args()
    model = jax.tree.map(jnp.asarray, load_face_model(options.model))
    arrays, front = derive(model, face_landmarker())
    np.savez_compressed(options.out, **arrays)
    sure = (arrays["spread"] < 4) & (arrays["seen"] >= 0.3)
    print(
        f"{sure.sum()} of {POINTS} points seen in 3 of 10 renderings and spread by less than 4 mm; "
        f"their spread: median {np.median(arrays['spread'][sure]):.2f} mm"
    )
    if options.picture:
        cv2.imwrite(options.picture, draw(model, arrays, front)[..., ::-1])


if __name__ == "__main__":
    main()
