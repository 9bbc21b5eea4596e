"""What the notes of data, and so a run's facts, say of items that are more than arrays: their names there."""

CLOUD = "cloud"  # items are point clouds, (3, points): the fewest and the most points
SOUND = "sound"  # items are sounds: how many samples they have a second
VIDEO = "video"  # the first of an item's three axes is that of frames: how many there are a second, how many videos
