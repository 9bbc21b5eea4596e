"""The public face of core/oracles."""

from undiffuse.core.oracles import *  # noqa: F403
