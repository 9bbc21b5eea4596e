"""Files of a run: tensors, strict JSON, and writing that is whole or absent; reading runs no code."""
