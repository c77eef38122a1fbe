"""Scores against truth: masks, colours, landmarks, shapes, and the tables made of them.

Imports everything below it. Read `masks`, `photometric`, `shape`, then `evaluate` (a model over a
data set), `report` and `tables`, `scans` with the protocols `now`, `svfr` and `realy` (and its
`nonrigid`), `plots` and `report_page`.
Truth that no detector made: `people`, `landmarks`, `identity` (points placed by hand),
`scan_pictures`, `pseudo_scans`, `nearest` (shapes of scans).
"""
