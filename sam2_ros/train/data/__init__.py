"""Training batches from annotated sequences: opening, sampling, augmenting. Knows nothing of losses or models."""
