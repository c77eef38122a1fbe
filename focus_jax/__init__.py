"""Robust 3D face reconstruction and occlusion segmentation in JAX."""
