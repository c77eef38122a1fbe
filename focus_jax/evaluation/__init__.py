"""Scores against truth: masks, colours, shapes; and the tables made of them."""
