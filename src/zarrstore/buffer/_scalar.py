"""What indexing an array returns. A module of its own, since NumPy must be there to say it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from zarrstore.buffer._nd import NDArrayLike

NDArrayLikeOrScalar: TypeAlias = (
    NDArrayLike | int | float | complex | str | bytes | bool | np.generic | np.datetime64 | np.timedelta64
)
