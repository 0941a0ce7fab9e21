"""Python imports this at start where its folder is on ``PYTHONPATH``: the clock is one hour ahead, in children too.

libfaketime is no way here: under it ``time.sleep`` fails with EINVAL, because it shifts one of two monotonic clocks.
"""

import time

_SHIFT_S = 3600
_time, _time_ns = time.time, time.time_ns

time.time = lambda: _time() + _SHIFT_S
time.time_ns = lambda: _time_ns() + _SHIFT_S * 10**9
