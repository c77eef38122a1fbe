"""Training: the loop, and the two updates of the EM alternation.

Imports everything below it, and nothing of `photos`. Read `train` downwards, then `method` (what
updates are told), `updates`, `gradients` (a step of a network), `renderings`, `schedule` (which
update when, with which weights), `settings` and `presets` (what a config may say), `appraisal` and
`summary` (what a run measures of itself), `health`, `optim`,
`metrics`, `mean_albedo`; `misfit` trains for the misfit prior.
"""
