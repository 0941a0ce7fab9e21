"""Which devices get the canary."""

from __future__ import annotations

from hashlib import blake2b

_RANGE = 2**64


def gets_canary(device_key: str, rollout: str, share: float) -> bool:
    """Whether a device is among the share.

    Each device has a place of its own between 0 and 1, by hash. So the answer for a device is the same at every call
    and on every server, a larger share keeps the devices of a smaller one, and another rollout draws others.

    Args:
        device_key: any text that stays that of the device.
        rollout: names the rollout.
        share: of the canary, 0 to 1.
    """
    # A length before each part, so that no two pairs of texts run together to the same bytes.
    parts = (part.encode() for part in (rollout, device_key))
    digest = blake2b(b"".join(len(part).to_bytes(8, "big") + part for part in parts), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * _RANGE
