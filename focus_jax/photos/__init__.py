"""What users run on photos: from files to faces, masks, meshes and pages.

Imports everything below it, and nothing of `training`. Read `reconstruct` and `segment`, then
`process` (many photos through one model), `trained` (the model), `inference` with `programs` (what
was compiled once), `refine`, and what is written: `masks`, `results`, `export`, `mesh_files`,
`texture`, `head`, `page`; `video` follows people (`video_people`). `first_faces`, `measure_people`
and `measure_scans` hold a model against the truth of `evaluation`.
"""
