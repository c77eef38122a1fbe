"""One page for a whole run: pictures and an interactive 3D view of every face, without a server.

The viewer is the three.js that trimesh ships, inlined once. Each mesh waits in a script beside the
face's files (`fitted.glb.js`), which a page opened from disk may load, unlike other files.
"""

import functools
import html
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trimesh import resources


def write_page(out: Path) -> int:
    """Write `out`/index.html about all faces found under `out`; returns their number."""
    part = out / "index.html.part"
    count = 0
    with part.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        for numbers, folder in sorted(faces(out), key=lambda f: -f[0]["occlusion"]["total"]):
            file.write(_card(numbers, folder.relative_to(out).as_posix()))
            count += 1
        file.write(f"</main>\n<script>{viewer_library()}</script>\n<script>{_SCRIPT}</script>\n")
        file.write("</body></html>\n")
    part.replace(out / "index.html")
    return count


def faces(out: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """Numbers (those that the page shows) and folder of each face written under `out`."""
    for path in sorted(out.rglob("face.json")):
        numbers = json.loads(path.read_text())
        shown = {k: numbers[k] for k in ("photo", "face", "occlusion", "confidence")}
        shown["flags"] = numbers.get("flags", [])
        overlays = sorted(path.parent.parent.glob("overlay.*"))
        shown["beside"] = [f"../{video.name}" for video in overlays]
        yield shown, path.parent


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
    links = " ".join(
        f'<a href="{place}/{file}">{file}</a>'
        for file in (
            "overlay.jpg",
            "mask.png",
            "fitted.glb",
            "fitted.obj",
            "neutral.obj",
            "face.json",
            *numbers["beside"],
        )
    )
    return f"""<article data-name="{name}" data-occlusion="{occlusion["total"]:.4f}"
 data-confidence="{numbers["confidence"]:.4f}" data-mesh="{place}/fitted.glb.js">
<h2>{name}</h2>
<img src="{place}/strip.jpg" alt="photo, overlay, rendering, mask, occlusion" loading="lazy">
<div class="view"><button>3D</button></div>
<p>hidden {occlusion["total"]:.0%} ({parts}); confidence {numbers["confidence"]:.2f}{flags};
{links}</p>
</article>
"""


@functools.cache
def viewer_library() -> str:
    """three.js with its glTF loader and controls, out of trimesh's own viewer.

    Raises ValueError when the installed trimesh has another viewer than this one knows.
    """
    with zipfile.ZipFile(io.BytesIO(resources.get_bytes("templates/viewer.zip"))) as archive:
        template = archive.read("viewer.html.template").decode()
    begin, end = template.find("<script>"), template.find("var camera,controls,scene,renderer")
    library = template[begin + len("<script>") : end]
    if begin < 0 or end < 0 or "THREE.GLTFLoader=" not in library:
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
  camera = new THREE.PerspectiveCamera(25, 224 / 228, 0.01, 100);
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
  script.src = card.dataset.mesh;
  script.onload = () => script.remove();
  document.body.append(script);
}
function showFace(data) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  new THREE.GLTFLoader().parse(bytes.buffer, "", gltf => {
    if (mesh) scene.remove(mesh);
    mesh = gltf.scene;
    // The texture holds the photo's light already.
    mesh.traverse(part => {
      if (part.isMesh) part.material = new THREE.MeshBasicMaterial({map: part.material.map});
    });
    const ball = new THREE.Box3().setFromObject(mesh).getBoundingSphere(new THREE.Sphere());
    scene.add(mesh);
    controls.reset();
    controls.target.copy(ball.center);
    camera.position.copy(ball.center).add(new THREE.Vector3(0, 0, 4.6 * ball.radius));
    camera.up.set(0, 1, 0);
    document.body.dataset.shown = "yes";
  });
}
cards.forEach(card => { card.querySelector("button").onclick = () => open3d(card); });
if (cards.length) open3d(cards[0]);
"""
