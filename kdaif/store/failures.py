"""The one place where failures of disks and object stores become errors of kdaif."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from kdaif.errors import AlreadyExistsError, NotFoundError, UnavailableError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_LOCKED_OUT = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Runs a block that touches the store.

    Args:
        doing: what the block does and to what, for the message: ``read tenants/a/blobs/0f``.

    Raises:
        NotFoundError: nothing is stored there.
        AlreadyExistsError: something is stored there already.
        UnavailableError: the store is full, does not answer or does not let us in.
    """
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise NotFoundError(f"could not {doing}: nothing is stored there") from error
    except (FileExistsError, exceptions.AlreadyExistsError) as error:
        raise AlreadyExistsError(f"could not {doing}: something is stored there already") from error
    except _LOCKED_OUT as error:
        raise UnavailableError(f"could not {doing}: access was denied; check the store's credentials") from error
    except OSError as error:
        if error.errno in _FULL:
            raise UnavailableError(f"could not {doing}: the disk is full; free some space and repeat") from error
        raise UnavailableError(f"could not {doing}: {error}") from error
    except exceptions.BaseError as error:
        first_line = str(error).partition("\n")[0]
        raise UnavailableError(f"could not {doing}: {first_line}") from error
