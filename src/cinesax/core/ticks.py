"""Round numbers along an axis, for every figure."""

import math

_STEPS = (1, 2, 2.5, 5, 10)


def round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers at even steps, in increasing order, that enclose low to high."""
    if not high > low:
        low, high = low - 1, high + 1
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    # Allow a little less than `rough`: rounding may make 0.1 * 10 less than 1, which would double the step.
    step = next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
