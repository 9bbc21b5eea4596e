"""What a process or a denoiser believes about a batch: normal values, token probabilities, or several named parts."""
