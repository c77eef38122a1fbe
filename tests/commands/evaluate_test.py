"""What `focus-jax evaluate` looks at."""

import runs

from focus_jax.commands import evaluate
from focus_jax.evaluation import tables


def test_a_folder_of_photos_is_looked_at_whatever_was_trained_on(tmp_path, monkeypatch):
    """All of it, without the training's synthetic faces and codes."""
    seen = []
    monkeypatch.setattr(tables, "tables", lambda trained, *_, **__: seen.append(trained.config))
    run, folder = runs.untrained(tmp_path / "run"), str(tmp_path)
    options = ["tables", f"--workdir={run}", f"--root={folder}", "--split=validation"]
    assert not evaluate.main(options)
    data = seen[0].data
    assert (data.name, data.root, data.codes, data.synthetic) == ("photos", folder, "", 0)
    assert data.train_count == data.validation_count == 0
