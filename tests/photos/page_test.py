import json
import os
import re
from urllib.parse import unquote_to_bytes

from focus_jax.photos.page import write_page


def test_names_that_are_no_utf8_have_their_place_on_the_page(tmp_path):
    names = [b"Andr\xe9.jpg", "Zoë & #1?.jpg".encode()]
    for name in names:
        folder = tmp_path / os.fsdecode(name) / "0"
        folder.mkdir(parents=True)
        numbers = {"photo": os.fsdecode(name), "face": 0, "occlusion": {"total": 0.1}}
        (folder / "face.json").write_text(json.dumps({**numbers, "confidence": 0.5}))
    assert write_page(tmp_path) == 2
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    places = {unquote_to_bytes(p) for p in re.findall(r'data-mesh="([^"]*)"', page)}
    assert places == {name + b"/0/fitted.glb.js" for name in names}
    assert "Andr\ufffd.jpg, face 0" in page and "Zoë &amp; #1?.jpg, face 0" in page
