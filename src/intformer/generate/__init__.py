"""Decoding with integers only: greedy, beam and sampling over the logits of a program."""
