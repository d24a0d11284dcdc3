"""/_test: how a test makes the server misbehave, and asks what it saw. Administrators only."""

import json

from errors import ApiError, bad_request, page_not_found


class Admin:
    def __init__(self, server):
        self.server = server

    def handle(self, connection, request, user):
        if "system:masters" not in user.groups:
            raise ApiError(403, "only administrators use /_test", "Forbidden")
        try:
            body = json.loads(request.body) if request.body else {}
        except ValueError as error:
            raise bad_request(f"not JSON: {error}") from None
        name = request.path[len("/_test/"):].strip("/").replace("/", "_")
        found = getattr(self, f"{request.method.lower()}_{name}", None)
        if found is None:
            raise page_not_found()
        connection.json(200, request, found(body, connection))

    # The record of requests

    def get_requests(self, _body, _connection):
        return self.server.faults.requests()

    def delete_requests(self, _body, _connection):
        self.server.faults.forget_requests()
        return {}

    # Faults

    def post_faults(self, body, _connection):
        return {"ids": self.server.faults.add(body if isinstance(body, list) else [body])}

    def get_faults(self, _body, _connection):
        return {"faults": self.server.faults.rules()}

    def delete_faults(self, body, _connection):
        self.server.faults.clear(body.get("id"))
        return {}

    def post_watches(self, body, _connection):
        self.server.faults.watch.set(body)
        return self.server.faults.watch.shown()

    def delete_watches(self, _body, _connection):
        self.server.faults.reset_watch()
        return {}

    def post_watches_cut(self, body, _connection):
        self.server.faults.cut_watches(body.get("clean", True))
        return {}

    def post_connections_drop(self, _body, connection):
        return {"dropped": self.server.listener.drop_all(but=connection)}

    def post_silence(self, body, _connection):
        """Requests are read and not answered for so many seconds."""
        self.server.silence(float(body["seconds"]))
        return {}

    # The store

    def post_compact(self, body, _connection):
        version = body.get("resourceVersion")
        self.server.store.compact(None if version is None else int(version),
                                  body.get("cache", True))
        return {"resourceVersion": str(self.server.store.rv)}

    def post_advance(self, body, _connection):
        self.server.store.advance(int(body["resourceVersion"]))
        return {}

    def post_store(self, body, _connection):
        self.server.faults.store_does_writes = body.get("writes") == "done"
        self.server.faults.store_answers = bool(body["answers"])
        return {}

    # Identities, start and end

    def post_tokens(self, body, _connection):
        if "add" in body:
            self.server.tokens.add(body["add"])
        if "expire" in body:
            self.server.tokens.expire(None if body["expire"] == "*" else body["expire"])
        if body.get("restore"):
            self.server.tokens.restore()
        return {}

    def post_startup(self, body, _connection):
        """Plays a server that has just started: what it does not have yet is false."""
        faults = self.server.faults
        self.server.authorizer.roles_known = bool(body.get("roles", True))
        faults.custom_ready = bool(body.get("customResources", True))
        faults.ready = bool(body.get("ready", True))
        faults.shutting_down = bool(body.get("shuttingDown", False))
        return {}

    def post_controllers(self, body, _connection):
        self.server.controllers.paused = bool(body["paused"])
        return {}
