"""A training child that is stopped before its first step."""

import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)
