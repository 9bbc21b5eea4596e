"""The public face of core/times."""

from undiffuse.core.times import *  # noqa: F403
