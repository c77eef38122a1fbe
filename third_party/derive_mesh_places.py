"""Where MediaPipe's 478 points lie on a face model: three vertices and their shares for each.

    python third_party/derive_mesh_places.py MODEL.npz [--picture OUT.png]

MODEL.npz is a face model in the project's own format; it gets `dense_landmark_vertices` and
`dense_landmark_weights` (see `types.FaceModel`), in place of those that it may have, and of its 68
landmarks those of brows, nose and lips move to where they are among these (`mesh_landmarks.IBUG`):
face models place them by conventions of their own, millimetres from where a detector or a hand
does. Corners of eyes and mouth, lids and jaw stay. Random faces
of it are rendered, frontal and turned, and looked at by the networks, also in the mirror; each
point found lies on the triangle that its pixel shows, or the face's nearest pixel. Its place on the
mean face is the median over the renderings that show it from the front, moved to the surface.

Where these places differ by much, or a point is seldom seen from the front, that of the views which
show it the least obliquely is taken: a best guess for the rim of the mesh, which slides over a head
that turns, the nostrils and the inner corners of the mouth. `data.belief` says which points a fit
goes by. The picture, to be looked at, shows the places on the mean face green, guesses yellow, and,
smaller, what was found on it white.
"""

import argparse
from pathlib import Path

import cv2
import igl
import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from scipy import ndimage
from tqdm import tqdm

from focus_jax.data.face_landmarker import POINTS, face_landmarker
from focus_jax.data.mesh_landmarks import IBUG, MIRROR
from focus_jax.face_models import npz
from focus_jax.rendering import camera, geometry, morphable
from focus_jax.rendering.rasterize import rasterize
from focus_jax.rendering.render import render_mesh
from focus_jax.system.files import write_npz

SIDE = 512  # pixels of a rendering
BACK = 150.0  # millimetres further away than in training, so that the whole face is in view
FACES = 60
SPREAD = 0.7  # deviations of a random face's coefficients
CALM = 0.5  # of them that expressions keep: points of moving skin slide over a mesh
FRONT = 0.4  # least cosine between a normal and the line of sight
YAW, PITCH = 0.5, 0.2  # radians, at most
SPREAD_LIMIT = 4.0  # millimetres, median: more is a guess
SEEN_LIMIT = 0.3  # of the renderings: of fewer it is one, too
LEAST_OBLIQUE = 0.2  # of the renderings: those that a guess is made of
# Of the 68: brows, nose, lips without their corners. Those of the eyes are near people's own as
# they are (experiments/RESULTS.md), and the jaw lies where dense points are guesses.
MOVED = [*range(17, 36), *range(49, 54), *range(55, 60), *range(61, 64), *range(65, 68)]


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
    """Triangles [478], how they face the camera [478], shares [478 3], points, the picture.

    Of a rendering, and again of what the networks find in its mirror image. A point beside the
    face, at the triangle nearest to it, faces away (-1).
    """
    triangles = jnp.asarray(model.triangles)
    seen = render_mesh(vertices[None], albedo[None], triangles, pose, light, SIDE, SIDE)
    picture = np.asarray(jnp.clip(seen.image + 0.7 * (1 - seen.coverage), 0, 1)[0])
    picture = (255 * picture).astype(np.uint8)
    faces = [find(p)[:1] for p in (picture, np.ascontiguousarray(picture[:, ::-1]))]
    if not all(faces):
        return []
    points, mirrored = (found[0].points for found in faces)
    mirrored = (mirrored * [-1, 1, 1] + [SIDE - 1, 0, 0])[MIRROR]
    fragments = rasterize(seen.screen_vertices, triangles, SIDE, SIDE)
    rotation, translation = camera.extrinsics(pose)
    normals, _ = geometry.triangle_normals(vertices, triangles)
    towards = np.asarray(vertices)[np.asarray(triangles)].mean(1) @ np.asarray(rotation)[0].T
    towards += np.asarray(translation)[0]
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    facing = -(np.asarray(normals) @ np.asarray(rotation)[0].T * towards).sum(-1)
    shown, looks = np.asarray(fragments.triangle_id)[0], []
    nearest = ndimage.distance_transform_edt(shown < 0, return_distances=False, return_indices=True)
    for found in (points, mirrored):
        x, y = np.rint(found[:, :2]).astype(int).T.clip(0, SIDE - 1)
        inside, (rows, columns) = shown[y, x] >= 0, nearest[:, y, x]
        at = np.where(inside[:, None], found[:, :2], np.stack([columns, rows], 1))
        triangle = shown[rows, columns]
        corners = np.asarray(seen.screen_vertices)[0][np.asarray(triangles)[triangle]][..., :2]
        shares = trimesh.triangles.points_to_barycentric(
            np.pad(corners, ((0, 0), (0, 0), (0, 1))), np.pad(at, ((0, 0), (0, 1)))
        )
        looks.append((triangle, np.where(inside, facing[triangle], -1), shares, found, picture))
    return looks


def derive(model, find):
    """Vertices and weights [478 3], whether a place is no guess [478], share of the views that see
    it from the front [478], and points, picture and pose of the mean. ValueError for a model that
    hardly shows a face.
    """
    rng, hits, facings = np.random.default_rng(0), [], []  # first the mean, from the front
    mean, triangles = np.asarray(model.shape_mean, float), np.asarray(model.triangles)
    front = None
    for number in tqdm(range(FACES), unit="face"):
        vertices, albedo = random_face(model, rng)
        pose, light = random_view(rng)
        if number == 0:
            vertices, albedo = jnp.asarray(model.shape_mean), jnp.asarray(model.albedo_mean)
            pose = jnp.zeros((1, 6)).at[0, 5].set(BACK)
        for triangle, towards, shares, *drawn in look(find, model, vertices, albedo, pose, light):
            front = front or (*drawn, pose)
            hits.append(np.einsum("pk,pkc->pc", shares, mean[triangles[triangle]]))
            facings.append(towards)
    if front is None or len(hits) < FACES:
        raise ValueError(f"a face was found in {len(hits) // 2} of {FACES} renderings only")
    hits, facings = np.array(hits), np.array(facings)
    seen = (facings > FRONT).mean(0)
    middle, spread = _middle(hits, facings > FRONT)
    known = (spread < SPREAD_LIMIT) & (seen >= SEEN_LIMIT)
    known &= known[MIRROR]
    # Of both sides, as each is seldom seen so.
    hits = np.concatenate([hits, hits[:, MIRROR] * [-1, 1, 1]])
    facings = np.concatenate([facings, facings[:, MIRROR]])
    guess, _ = _middle(hits, facings >= np.quantile(facings, 1 - LEAST_OBLIQUE, axis=0))
    middle = np.where(known[:, None], middle, guess)
    return *on_surface(model, middle), known, seen, front


def on_surface(model, points):
    """Vertices and weights [n 3] of the places of the mean face that are nearest to points."""
    mean, triangles = np.asarray(model.shape_mean, float), np.asarray(model.triangles)
    _, triangle, nearest = igl.point_mesh_squared_distance(points, mean, triangles)
    weights = trimesh.triangles.points_to_barycentric(mean[triangles[triangle]], nearest)
    return triangles[triangle].astype(np.int32), weights.astype(np.float32)


def moved(model, vertices, weights):
    """Vertices and weights [68 3] of the landmarks, those of MOVED where the dense places say."""
    places = (weights[..., None] * np.asarray(model.shape_mean, float)[vertices]).sum(1)
    first, second, share = (np.array(column)[MOVED] for column in zip(*IBUG, strict=True))
    found = places[first] + share[:, None] * (places[second] - places[first])
    own = np.array(model.landmark_vertices), np.array(model.landmark_weights)
    for all_of, new in zip(own, on_surface(model, found), strict=True):
        all_of[MOVED] = new
    return own


def _middle(hits, chosen):
    """Median place [478 3] of each point's chosen hits, and their median distance from it [478]."""
    chosen = chosen | ~chosen.any(0)  # of none: of all
    places = np.where(chosen[..., None], hits, np.nan)
    middle = np.nanmedian(places, axis=0)
    return middle, np.nanmedian(np.linalg.norm(places - middle, axis=-1), axis=0)


def draw(model, vertices, weights, known, front):
    """The mean face with the places, and the points that were found on it."""
    points, picture, pose = front
    places = jnp.asarray((weights[..., None] * np.asarray(model.shape_mean)[vertices]).sum(1))
    matrix = camera.intrinsics(SIDE, SIDE)
    seen = np.asarray(camera.project(places[None], *camera.extrinsics(pose), matrix))[0, :, :2]
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for number, sure in enumerate(known):
        own = (30, 200, 60) if sure else (240, 220, 40)
        for place, size, shade in ((seen, 3, own), (points, 1, (255, 255, 255))):
            x, y = np.rint(2 * place[number, :2] + 0.5).astype(int).tolist()
            cv2.circle(large, (x, y), size, shade, -1)
    return large


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--picture")
    options = parser.parse_args()
    arrays = npz.read_arrays(options.model)
    model = jax.tree.map(jnp.asarray, npz.from_arrays(arrays, options.model))
    vertices, weights, known, _, front = derive(model, face_landmarker())
    arrays |= {"dense_landmark_vertices": vertices, "dense_landmark_weights": weights}
    names = "landmark_vertices", "landmark_weights"
    arrays |= zip(names, moved(model, vertices, weights), strict=True)
    write_npz(options.model, **arrays)
    print(f"{POINTS} points have a place; of {POINTS - known.sum()} it is a guess")
    if options.picture:
        cv2.imwrite(options.picture, draw(model, vertices, weights, known, front)[..., ::-1])


if __name__ == "__main__":
    main()
