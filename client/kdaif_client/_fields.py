"""Fields of messages: which are lists, and the choices of their enums in lower case."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message


def is_list(value: Any) -> bool:
    """Whether a field's value is repeated. FieldDescriptor.is_repeated says it too, but only from protobuf 6 on."""
    return hasattr(value, "extend")


def choices_of(enum: Any) -> dict[str, int]:
    """Number by choice, without the unspecified one."""
    return {_choice(member, enum): member.number for member in enum.values if member.number != 0}


def choice_of(message: Message, name: str) -> Any:
    """An enum field as the lower-case choice of the SDK; ``None`` when unset or from a newer server."""
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    member = enum.values_by_number.get(getattr(message, name)) if enum is not None else None
    return _choice(member, enum) if member is not None and member.number != 0 else None


def enum_name(message: Message, name: str, known: Any = None) -> str:
    """An enum field by name without its prefix. A value of a newer server becomes UNSPECIFIED."""
    choice = str(choice_of(message, name) or "unspecified").upper()
    return choice if known is None or choice in known.__members__ else "UNSPECIFIED"


def _choice(member: Any, enum: Any) -> str:
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(member.name.removeprefix(prefix).lower())
