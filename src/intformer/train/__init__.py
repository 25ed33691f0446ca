"""Training of classifiers: quantization-aware (the twin of a program) or in float."""
