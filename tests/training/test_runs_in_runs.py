"""Runs inside a recipe: fine-tuning, a teacher in an objective, what travels with a run and what is only recorded."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch
from torch import Tensor

import undiffuse
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
