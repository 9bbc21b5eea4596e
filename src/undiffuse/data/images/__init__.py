"""Images: decoded, resized, and kept."""
