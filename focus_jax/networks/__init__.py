"""The three networks: encoder, segmenter and the frozen recognizer.

Imports `types` only. Read `encoder` and `segmenter`, then `recognizer` with `chips` (the upright
face that it sees); its weights come from `weights.recognizer`. `layers` are their parts;
`convolution` and `winograd` say how a CPU computes them.
"""
