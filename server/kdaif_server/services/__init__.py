"""One thin service per resource: read the request, call a room, convert the answer."""
