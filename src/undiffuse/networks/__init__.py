"""Networks, one a file: called as network(x, c_time, **cond), they return what a parameterization makes a guess of."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("networks")
