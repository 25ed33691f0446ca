"""The operators of other papers: parameters from scales, tables, error, and their choice by layer.

One file for each of softmax, GELU and normalisation. Their integer functions are in ``arith``.
Training passes gradients straight through them: the surrogate is the float operator that each
stands for, on the de-quantized values (``quantize.float_run``).
"""
