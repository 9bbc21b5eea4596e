"""The public face of core/scales."""

from undiffuse.core.scales import *  # noqa: F403
