"""A text of a few lines, and the settings of a model that learns it in seconds."""

LINES = ["the war is over", "we want peace", "the law of the state is good", "god is great", "peace is good for us"]
TINY = [
    *("data.length=8", "data.shortest=0", "denoiser.embedding=6", "network.width=32", "network.depth=1"),
    *("network.heads=2", "sampler.steps=40", "train.steps=120", "train.batch=16", "train.lr=0.02", "train.warmup=5"),
    *("train.held_out=0.3", "train.checkpoint_every=60", "train.preview_every=0", "train.validate_every=120"),
    *("train.log_every=10", "train.snapshots=0"),
]
