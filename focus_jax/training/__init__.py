"""Training: the loop, and the two updates of the EM alternation.

Imports everything below it, and nothing of `photos`. Read `train` downwards, then `updates`,
`schedule` (which update when, with which weights), `settings` and `presets` (what a config may
say), `appraisal` and `summary` (what a run measures of itself), `health`, `optim`, `gradients`,
`metrics`, `mean_albedo`; `misfit` trains for the misfit prior.
"""
