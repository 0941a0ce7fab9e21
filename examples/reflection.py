"""What a server offers, asked of the server itself, and a call of it: no protos and no stubs on this side.

kdaif-server up --reflection        in one terminal, then
python -m examples.reflection localhost:50051
"""

from __future__ import annotations

import json
import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "localhost:50051"
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        for name in sorted(database.get_services()):
            if name.startswith("kdaif."):
                print(name)
                for method in pool.FindServiceByName(name).methods:
                    print(f"  {method.name}({_shown(method)})")
        jobs = pool.FindServiceByName("kdaif.v1.DistillationJobService")
        answer = call(channel, jobs.FindMethodByName("ListDistillationJobs"), {"parent": "tenants/default"})
        print(json.dumps(answer, indent=1))


def call(channel: grpc.Channel, method: MethodDescriptor, request: dict[str, object]) -> dict[str, object]:
    """One request and one response, as JSON."""
    filled = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict(request, filled)
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer_class = message_factory.GetMessageClass(method.output_type)
    unary = channel.unary_unary(path, type(filled).SerializeToString, answer_class.FromString)
    return dict(json_format.MessageToDict(unary(filled, timeout=30), preserving_proto_field_name=True))


def _shown(method: MethodDescriptor) -> str:
    sent = "stream " * method.client_streaming + method.input_type.name
    return f"{sent}) -> ({'stream ' * method.server_streaming}{method.output_type.name}"


if __name__ == "__main__":
    main()
