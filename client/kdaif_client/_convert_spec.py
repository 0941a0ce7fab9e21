"""Between ``kdaif.v1.DistillationSpec`` and the dataclasses of the SDK, by the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from kdaif_proto.v1 import spec_pb2

from kdaif_client import architectures, teachers
from kdaif_client import spec as settings
from kdaif_client._fields import choice_of, choices_of, is_list
from kdaif_client._names import resource_name
from kdaif_client.errors import InvalidArgument

# The names of the classes are those of the messages, and each choice of a oneof has a message of its own.
_CLASSES: Mapping[str, type] = {
    name: getattr(module, name)
    for module in (architectures, teachers, settings)
    for name in module.__all__
    if is_dataclass(getattr(module, name))
} | {"DistillationSpec": settings.Spec}
_DATASETS = ("labeled", "unlabeled", "validation", "test", "external", "initial_weights", "dataset", "model")


def spec_to_proto(spec: settings.Spec, tenant: str) -> spec_pb2.DistillationSpec:
    """Only what was given is set; all else is left to the server's defaults."""
    for role in ("labeled", "unlabeled"):
        if not getattr(spec, role):
            raise InvalidArgument.of(f"spec.{role}", "is missing; give a Dataset or the name of one")
    message = spec_pb2.DistillationSpec()
    _fill(message, "spec", spec, tenant)
    return message


def spec_from_proto(message: spec_pb2.DistillationSpec) -> settings.Spec:
    """The inverse of ``spec_to_proto``."""
    spec: settings.Spec = _read(message)
    return spec


def spec_from_json(document: Any) -> settings.Spec:
    """A spec in the JSON form of the proto: ``{"labeled": "...", "student": {"mlp": {"hidden_sizes": [64]}}}``."""
    message = spec_pb2.DistillationSpec()
    if not isinstance(document, dict):
        raise InvalidArgument(f"The spec is a {type(document).__name__}; give a kdaif.v1.DistillationSpec, an object.")
    try:
        json_format.ParseDict(document, message)
    except (json_format.ParseError, AttributeError, TypeError) as error:
        raise InvalidArgument(f"The spec is not a kdaif.v1.DistillationSpec in JSON: {error}") from None
    return spec_from_proto(message)


def spec_to_json(spec: settings.Spec) -> dict[str, Any]:
    """What ``spec_from_json`` reads, for a spec whose data sets have full names."""
    message = spec_pb2.DistillationSpec()
    _fill(message, "spec", spec, "")
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def _fill(message: Message, path: str, given: Any, tenant: str) -> None:
    """Sets the fields of a message from those of the same names in a dataclass."""
    names = message.DESCRIPTOR.fields_by_name
    for field in fields(given):
        value = getattr(given, field.name)
        if value is None or (field.name in _DATASETS and value == ""):
            continue
        where = f"{path}.{field.name}"
        if field.name not in names:
            raise InvalidArgument.of(where, "cannot be given here; leave it out")
        if field.name in _DATASETS:
            setattr(message, field.name, resource_name(tenant, "datasets", value, where))
        elif field.name == "job":
            setattr(message, field.name, resource_name(tenant, "distillationJobs", value, where))
        elif names[field.name].message_type is None:
            _set(message, where, field.name, value)
        elif is_list(getattr(message, field.name)):
            for position, element in enumerate(_checked_list(value, where)):
                _fill_message(getattr(message, field.name).add(), f"{where}[{position}]", element, tenant)
        else:
            _fill_message(getattr(message, field.name), where, value, tenant)


def _fill_message(message: Message, path: str, given: Any, tenant: str) -> None:
    """Of a oneof called ``kind``, the choice whose class ``given`` is; fields of the message itself stand beside it."""
    kind = message.DESCRIPTOR.oneofs_by_name.get("kind")
    choices = {_type_name(field): field.name for field in kind.fields} if kind is not None else {}
    wanted = list(choices) or [message.DESCRIPTOR.name]
    if type(given).__name__ not in wanted or not isinstance(given, _CLASSES[type(given).__name__]):
        raise InvalidArgument.of(path, f"is {given!r}; give {' or '.join(wanted)}")
    message.SetInParent()
    if kind is None:
        _fill(message, path, given, tenant)
        return
    name = choices[type(given).__name__]
    chosen = getattr(message, name)
    chosen.SetInParent()
    beside = {field.name for field in message.DESCRIPTOR.fields if field.containing_oneof is not kind}
    inner = {name: value for name, value in vars(given).items() if name not in beside}
    for field_name in beside:
        value = getattr(given, field_name, None)
        if value is not None:
            _fill_message(getattr(message, field_name), f"{path}.{field_name}", value, tenant)
    _fill(chosen, f"{path}.{name}", type(given)(**inner), tenant)


def _type_name(field: Any) -> str:
    return str(field.message_type.name)


def _set(message: Message, where: str, name: str, value: Any) -> None:
    """One number, text, switch or choice, or a list of them."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        choices = choices_of(field.enum_type)
        if value not in choices:
            raise InvalidArgument.of(where, f"is {value!r}; choose from {', '.join(choices)}")
        value = choices[value]
    try:
        if is_list(getattr(message, name)):
            getattr(message, name).extend(_checked_list(value, where))
        else:
            setattr(message, name, value)
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of(where, f"cannot be {value!r}: {error}") from None


def _checked_list(value: Any, where: str) -> Any:
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise InvalidArgument.of(where, f"is {value!r}; give a list")
    if len(value) == 0:
        # On the wire an empty list is the same as none, and the server would use its default unseen.
        raise InvalidArgument.of(where, "is empty, which cannot be sent; give at least one, or leave it out")
    return value


def _read(message: Message) -> Any:
    """The dataclass of a message; ``None`` where nothing was chosen of a oneof that has no default."""
    given: dict[str, Any] = {}
    inner = message
    kind = message.DESCRIPTOR.oneofs_by_name.get("kind")
    if kind is not None:
        name = message.WhichOneof("kind") or ("train" if message.DESCRIPTOR.name == "Teacher" else None)
        if name is None:
            return None
        given = {field.name: _value(message, field, value) for field, value in message.ListFields()}
        given.pop(name, None)
        inner = getattr(message, name)
    given |= {field.name: _value(inner, field, value) for field, value in inner.ListFields()}
    made = _CLASSES[inner.DESCRIPTOR.name]
    for field in fields(made):
        if field.default is MISSING and field.name not in given:
            given[field.name] = _unset(inner, field.name)
    return made(**given)


def _value(message: Message, field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return tuple(_read(element) for element in value) if is_list(value) else _read(value)
    if field.enum_type is not None:
        return choice_of(message, field.name)
    return tuple(value) if is_list(value) else value


def _unset(message: Message, name: str) -> Any:
    """What a required field is when it was not sent: refused by the server, or here when sent again."""
    value = getattr(message, name)
    if message.DESCRIPTOR.fields_by_name[name].enum_type is not None:
        return ""
    return () if is_list(value) else value
