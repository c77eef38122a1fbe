"""From photos with landmarks to batches.

Imports `types`, `system`, `rendering`, `networks` and `face_models`. Read `photos`, `decode`
and `landmarks` (what is on the disk), `align` (the crop), `records` and `cache` (crops kept),
`augment`, `features` (what the recognizer sees of them), `pipeline` (batches), `source` (what a
config names), and for photos of one's own `detect`, `faces` and `prepare`. Rooms: `occluders` and
`synthetic`.
"""
