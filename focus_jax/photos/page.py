"""One page for a whole run: pictures and an interactive 3D view of every face, without a server.

The viewer is the three.js that trimesh ships, inlined once. What all faces have in common,
triangles and texture coordinates, is in the page's own `topology.js`; the vertices and a small
texture of each wait in a script beside the face's files (`view.js`), since a page that is opened
from disk may load scripts and no other files.
"""

import base64
import functools
import html
import importlib.util
import json
import math
import os
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from focus_jax.photos import process
from focus_jax.photos.export import Atlas
from focus_jax.photos.mesh_files import encode_jpeg
from focus_jax.system.files import read_json

_LINKED = (
    *("overlay.jpg", "mask.png", "fitted.glb", "neutral.glb", "fitted.obj", "neutral.obj"),
    *("fitted.ply", "arkit.glb", "face.json"),
)


VIEW, TOPOLOGY = "view.js", "topology.js"
SIDE = 448  # pixels of the texture in the view
LEVELS = 32767  # of a coordinate, between the least and the largest of a face: a few micrometres


def view(vertices: Float[np.ndarray, "v 3"], texture: UInt8[np.ndarray, "s s 3"]) -> str:
    """The script of a face's vertices and texture, which the page loads when it is looked at."""
    low, high = vertices.min(0), vertices.max(0)
    scale = float((high - low).max()) / LEVELS
    places = np.rint((vertices - low) / scale).astype("<i2")
    small = cv2.resize(texture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    data = {
        "places": _base64(places),
        "low": low.astype(float).round(4).tolist(),
        "scale": scale,
        "texture": "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(small)).decode(),
    }
    return f"showFace({json.dumps(data)});\n"


def _topology(atlas: Atlas) -> str:
    data = {
        "vertex": _base64(atlas.vertex.astype("<u4")),
        "index": _base64(atlas.triangles.astype("<u4")),
        "uv": _base64(atlas.uv.astype("<f4")),
    }
    return f"const topology = {json.dumps(data)};\n"


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def write_page(out: Path, atlas: Atlas) -> int:
    """Write `out`/index.html about all faces found under `out`; returns their number.

    `atlas` is that of their face model. Files face.json that are damaged, or another program's, are
    passed over, as a line on stderr says.
    """
    shown, strange = faces(out)
    if strange:
        print(
            f"{len(strange)} face.json that no run wrote whole are not on the page, such as "
            f"{strange[0]}",
            file=sys.stderr,
        )
    (out / TOPOLOGY).write_text(_topology(atlas))
    part = out / "index.html.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        for numbers, folder in sorted(shown, key=lambda f: -f[0]["occlusion"]["total"]):
            file.write(_card(numbers, folder.relative_to(out).as_posix()))
        file.write(f"</main>\n<script>{viewer_library()}</script>\n")
        file.write(f'<script src="{TOPOLOGY}"></script>\n<script>{_SCRIPT}</script>\n')
        file.write("</body></html>\n")
    part.replace(out / "index.html")
    return len(shown)


def faces(out: Path) -> tuple[list[tuple[dict[str, Any], Path]], list[Path]]:
    """Numbers (those that the page shows) and folder of each face written under `out`; and the
    files face.json that have no such numbers. Runs into folders below have their own pages."""
    found, strange = [], []
    for path in sorted(process.written(out, ("face.json",))):
        try:
            shown = _shown(read_json(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            strange.append(path)
            continue
        overlays = sorted(path.parent.parent.glob("overlay.*"))
        shown["files"] = [name for name in _LINKED if (path.parent / name).is_file()]
        shown["files"] += [f"../{video.name}" for video in overlays]
        found.append((shown, path.parent))
    return found, strange


def _shown(numbers: dict[str, Any]) -> dict[str, Any]:
    """Those of a face.json that the page shows; several errors of one that no run wrote."""
    hidden = {k: v if v is None else float(v) for k, v in numbers["occlusion"].items()}
    shown = {"photo": str(numbers["photo"]), "face": int(numbers["face"]), "occlusion": hidden}
    shown["confidence"] = float(numbers["confidence"])
    shown["flags"] = [str(flag) for flag in numbers.get("flags", [])]
    if not math.isfinite(float(numbers["occlusion"]["total"]) + shown["confidence"]):
        raise ValueError("a number is not finite")
    return shown


def _card(numbers: dict[str, Any], folder: str) -> str:
    occlusion, place = numbers["occlusion"], quote(os.fsencode(folder))
    parts = ", ".join(
        f"{name} {value:.0%}"
        for name, value in occlusion.items()
        if name != "total" and value is not None
    )
    photo = os.fsencode(numbers["photo"]).decode("utf-8", "replace")
    name = html.escape(f"{photo}, face {numbers['face']}")
    flags = "".join(f"; <strong>{html.escape(flag)}</strong>" for flag in numbers["flags"])
    links = " ".join(f'<a href="{place}/{file}">{file}</a>' for file in numbers["files"])
    return f"""<article data-name="{name}" data-occlusion="{occlusion["total"]:.4f}"
 data-confidence="{numbers["confidence"]:.4f}" data-view="{place}/{VIEW}">
<h2>{name}</h2>
<img src="{place}/strip.jpg" alt="photo, overlay, rendering, mask, occlusion" loading="lazy">
<div class="view"><button>3D</button></div>
<p>hidden {occlusion["total"]:.0%} ({parts}); confidence {numbers["confidence"]:.2f}{flags};
{links}</p>
</article>
"""


@functools.cache
def viewer_library() -> str:
    """three.js with its controls, out of trimesh's own viewer.

    Raises ValueError when the installed trimesh has another viewer than this one knows.
    """
    found = importlib.util.find_spec("trimesh")  # imported it would take half a second
    places = found.submodule_search_locations if found else None
    viewer = Path(places[0]) / "resources" / "templates" / "viewer.zip" if places else Path()
    if not viewer.is_file():
        raise ValueError("the page needs the viewer of trimesh; install trimesh 4.6 to 5")
    with zipfile.ZipFile(viewer) as archive:
        template = archive.read("viewer.html.template").decode()
    begin, end = template.find("<script>"), template.find("var camera,controls,scene,renderer")
    library = template[begin + len("<script>") : end]
    if begin < 0 or end < 0 or "THREE.TrackballControls=" not in library:
        raise ValueError("the viewer of this trimesh is unknown; install trimesh 4.6 to 5")
    return library


_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>focus_jax</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 0; background: #f4f4f2; color: #222; }
header { position: sticky; top: 0; padding: 8px 16px; background: #fffe; z-index: 1; }
main { display: grid; gap: 12px; padding: 12px 16px; }
article { display: grid; grid-template-columns: minmax(0, max-content) 224px; gap: 4px 12px;
  padding: 10px; background: #fff; border-radius: 6px; align-items: start; }
h2 { grid-column: 1 / -1; font-size: 14px; margin: 0; overflow-wrap: anywhere; }
article img { max-width: 100%; height: auto; }
.view { width: 224px; height: 228px; background: #e8e8e6; position: relative; }
.view canvas { position: absolute; inset: 0; }
.view button { position: absolute; inset: 0; width: 100%; border: 0; background: none;
  font-size: 24px; cursor: pointer; }
p { grid-column: 1 / -1; margin: 0; }
@media (max-width: 1000px) { article { grid-template-columns: 1fr; } }
</style></head><body>
<header><label>Sort by <select id="order">
<option value="occlusion,-1">most hidden first</option>
<option value="occlusion,1">least hidden first</option>
<option value="confidence,1">least confident first</option>
<option value="name,1">name</option>
</select></label> Photo, fitted face over it, fitted face, where the face is seen (white), what
hides it (pink), and 3D: drag to turn, scroll to come closer.</header>
<main>
"""

# One canvas for all faces: browsers allow a page few of them. It moves to the face in use.
_SCRIPT = """
const main = document.querySelector("main");
const cards = [...main.children];
document.getElementById("order").onchange = event => {
  const [key, sign] = event.target.value.split(",");
  const value = card => key === "name" ? card.dataset.name : Number(card.dataset[key]);
  cards.sort((a, b) => sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
  main.append(...cards);
};
let renderer, scene, camera, controls, mesh;
function begin() {
  renderer = new THREE.WebGLRenderer({antialias: true, preserveDrawingBuffer: true});
  renderer.setPixelRatio(window.devicePixelRatio);
  renderer.setSize(224, 228);
  renderer.outputEncoding = THREE.sRGBEncoding;
  scene = new THREE.Scene();
  scene.background = new THREE.Color(0xe8e8e6);
  camera = new THREE.PerspectiveCamera(25, 224 / 228);
  controls = new THREE.TrackballControls(camera, renderer.domElement);
  controls.rotateSpeed = 4;
  (function draw() {
    requestAnimationFrame(draw);
    controls.update();
    renderer.render(scene, camera);
  })();
}
function open3d(card) {
  if (!renderer) begin();
  card.querySelector(".view").append(renderer.domElement);
  controls.handleResize();
  if (mesh) scene.remove(mesh);
  const script = document.createElement("script");
  script.src = card.dataset.view;
  script.onload = () => script.remove();
  document.body.append(script);
}
function numbers(text, kind) {
  return new kind(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
}
const vertex = numbers(topology.vertex, Uint32Array);
const index = new THREE.BufferAttribute(numbers(topology.index, Uint32Array), 1);
const uv = new THREE.BufferAttribute(numbers(topology.uv, Float32Array), 2);
function showFace(face) {
  const levels = numbers(face.places, Int16Array);
  const places = new Float32Array(3 * vertex.length);
  vertex.forEach((v, i) => {
    for (let k = 0; k < 3; k++) places[3 * i + k] = face.low[k] + face.scale * levels[3 * v + k];
  });
  const image = new Image();
  image.onload = () => {
    if (mesh) { scene.remove(mesh); mesh.geometry.dispose(); mesh.material.map.dispose(); }
    const texture = new THREE.Texture(image);
    texture.encoding = THREE.sRGBEncoding;
    texture.needsUpdate = true;
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(places, 3));
    geometry.setAttribute("uv", uv);
    geometry.setIndex(index);
    // The texture holds the photo's light already.
    mesh = new THREE.Mesh(geometry, new THREE.MeshBasicMaterial({map: texture}));
    const ball = new THREE.Box3().setFromObject(mesh).getBoundingSphere(new THREE.Sphere());
    scene.add(mesh);
    controls.reset();
    controls.target.copy(ball.center);
    camera.position.copy(ball.center).add(new THREE.Vector3(0, 0, 4.6 * ball.radius));
    camera.up.set(0, 1, 0);
    camera.near = 0.01 * ball.radius;  // whatever the unit
    camera.far = 1000 * ball.radius;
    camera.updateProjectionMatrix();
    document.body.dataset.shown = "yes";
  };
  image.src = face.texture;
}
cards.forEach(card => { card.querySelector("button").onclick = () => open3d(card); });
if (cards.length) open3d(cards[0]);
"""
