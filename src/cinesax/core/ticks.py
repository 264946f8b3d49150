"""Round numbers along an axis, for every figure."""

import math

_STEPS = (1, 2, 2.5, 5, 10)


def round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers at even steps that enclose low to high, about `wanted` of them, in rising order."""
    if not high > low:
        low, high = low - 1, high + 1
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    # A little less than `rough` will do: 0.1 * 10 may be less than 1 by rounding, and would double the step.
    step = next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
