"""What a training child gets of the worker's environment, and what of it must not get into anybody's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAMES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy"),
    }
)
_PREFIXES = (
    *("LC_", "PYTHON", "XDG_", "COVERAGE_", "MALLOC_"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_"),
    *("CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "TORCH", "PYTORCH_"),
)
_STORE_PREFIXES = ("AWS_",)
_SECRET_NAME = re.compile(r"SECRET|PASSW|TOKEN|CREDENTIAL|PRIVATE|AUTH|(^|_)KEY|ACCESS_KEY", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:([^/@\s]+)@", re.IGNORECASE)
_SHORTEST_SECRET = 6  # shorter ones are words, and blanking them would make a log unreadable


def child_environment(environment: Mapping[str, str], *, reads_s3: bool, also: Iterable[str]) -> dict[str, str]:
    """The variables that a child may see. No ``KDAIF_`` among them: it is told by its assignment what it needs.

    Args:
        environment: of the worker.
        reads_s3: whether it needs the credentials of the blob store.
        also: further names that an operator lets through.
    """
    names, prefixes = _NAMES | set(also), _PREFIXES + (_STORE_PREFIXES if reads_s3 else ())
    return {name: value for name, value in environment.items() if name in names or name.startswith(prefixes)}


class Secrets:
    """Blanks the worker's secrets wherever they stand in a text.

    Args:
        environment: of the worker. Secret is what its name says to be, and the password in any URL.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        found = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
        found |= {word for value in environment.values() for word in _PASSWORD_IN_URL.findall(value)}
        # Longest first: one may be part of another.
        self._values = sorted((value for value in found if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)

    def blanked(self, text: str) -> str:
        """``text`` with ``***`` in their place."""
        for value in self._values:
            text = text.replace(value, "***")
        return text
