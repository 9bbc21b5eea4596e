"""The mathematics: one equation, four words (schedule, process, denoiser, sampler). Imports torch and numpy only."""
