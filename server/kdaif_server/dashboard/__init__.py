"""Pages for people: jobs, weights, samples, students. Rendered here, live by server-sent events, without a cookie."""

from kdaif_server.dashboard.server import running_dashboard

__all__ = ["running_dashboard"]
