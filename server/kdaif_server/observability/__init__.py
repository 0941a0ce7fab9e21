"""How the server is seen from outside: each call's log line, span and metrics; the queue's figures; its health."""

from kdaif_server.observability.calls import Observing, request_id
from kdaif_server.observability.metrics import ServerMetrics
from kdaif_server.observability.monitor import QUEUE_HEALTH, Monitor

__all__ = ["QUEUE_HEALTH", "Monitor", "Observing", "ServerMetrics", "request_id"]
