"""A plain client for tests of the server: one connection a request, JSON in and out."""

import http.client
import json

import certs


class Answer:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.body = code, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Talks to the server of a directory. `token` None means the administrator's certificate."""

    def __init__(self, port, folder, token=None, anonymous=False):
        self.port, self.token = port, token
        self.context = certs.client_context(folder, admin=token is None and not anonymous)

    def connect(self, timeout=30):
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context,
                                           timeout=timeout)

    def send(self, method, path, body=None, headers=None, timeout=30):
        connection = self.connect(timeout)
        try:
            names = {"Accept": "application/json", "User-Agent": "tidemark/0.1"}
            if self.token:
                names["Authorization"] = f"Bearer {self.token}"
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
                names["Content-Type"] = "application/json"
            names.update(headers or {})
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.send("GET", path, **more)

    def post(self, path, body, **more):
        return self.send("POST", path, body, **more)

    def put(self, path, body, **more):
        return self.send("PUT", path, body, **more)

    def delete(self, path, body=None, **more):
        return self.send("DELETE", path, body, **more)

    def patch(self, path, body, media="application/merge-patch+json", **more):
        body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return self.send("PATCH", path, body, {"Content-Type": media}, **more)
