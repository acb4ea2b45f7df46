"""How attention is computed fast: on CPUs, on GPUs, by PyTorch. Knows nothing of the boxes that call it."""
