"""What a Kubernetes API server answers when it refuses: Status objects, by reason."""

# Reason of a Status by its HTTP code, where the code decides.
REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
           405: "MethodNotAllowed", 406: "NotAcceptable", 409: "Conflict", 410: "Expired",
           413: "RequestEntityTooLarge", 415: "UnsupportedMediaType", 422: "Invalid",
           503: "ServiceUnavailable", 504: "Timeout"}

# Reason of a cause, and how its message begins.
CAUSES = {"required": ("FieldValueRequired", "Required value"),
          "invalid": ("FieldValueInvalid", "Invalid value"),
          "type": ("FieldValueTypeInvalid", "Invalid value"),
          "unsupported": ("FieldValueNotSupported", "Unsupported value"),
          "forbidden": ("FieldValueForbidden", "Forbidden"),
          "duplicate": ("FieldValueDuplicate", "Duplicate value"),
          "too_long": ("FieldValueTooLong", "Too long"),
          "too_many": ("FieldValueTooMany", "Too many")}


class ApiError(Exception):
    """An answer that is not a success. `text` makes it a text/plain one instead of a Status."""

    def __init__(self, code, message, reason=None, details=None, headers=None, text=None,
                 metadata=None, plain=False):
        super().__init__(message)
        self.code, self.message, self.reason = code, message, reason
        self.details, self.text, self.metadata = details, text, metadata or {}
        self.headers = dict(headers or {})
        self.plain = plain  # a Status without kind, sent as text/plain: a request that timed out

    def status(self):
        body = {} if self.plain else {"kind": "Status", "apiVersion": "v1"}
        body.update({"metadata": self.metadata, "status": "Failure", "message": self.message})
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def details_of(res, name, kind=None, **more):
    """The details of a Status about an object: by resource, or by kind when that is given."""
    found = {"name": name} if name else {}
    if res.group:
        found["group"] = res.group
    found["kind"] = kind or res.plural
    found.update(more)
    return found


def not_found(res, name):
    return ApiError(404, f'{res.qualified} "{name}" not found', "NotFound", details_of(res, name))


def page_not_found():
    return ApiError(404, "", text="404 page not found\n",
                    headers={"X-Content-Type-Options": "nosniff"})


def already_exists(res, name):
    return ApiError(409, f'{res.qualified} "{name}" already exists', "AlreadyExists",
                    details_of(res, name))


def conflict(res, name, why="the object has been modified; please apply your changes to the latest "
             "version and try again", kind=None):
    return ApiError(409, f'Operation cannot be fulfilled on {kind or res.qualified} "{name}": {why}',
                    "Conflict", details_of(res, name, kind))


def forbidden(res, name, why, causes=None):
    more = {"causes": causes} if causes else {}
    return ApiError(403, f'{res.qualified} "{name}" is forbidden: {why}', "Forbidden",
                    details_of(res, name, **more))


def bad_request(message):
    return ApiError(400, message, "BadRequest")


def unauthorized():
    return ApiError(401, "Unauthorized", "Unauthorized")


def timed_out():
    return ApiError(504, "Timeout: request did not complete within the allotted timeout", "Timeout",
                    details={}, plain=True)


def method_not_allowed():
    return ApiError(405, "the server does not allow this method on the requested resource",
                    "MethodNotAllowed", details={})


def unsupported_media(accepted):
    return ApiError(415, "the body of the request was in an unknown format - accepted media types "
                    "include: " + ", ".join(accepted), "UnsupportedMediaType")


def not_acceptable():
    return ApiError(406, "406: Not Acceptable\n\nAvailable representations: application/json, "
                    "application/yaml, application/vnd.kubernetes.protobuf, "
                    "application/json;stream=watch, "
                    "application/vnd.kubernetes.protobuf;stream=watch", "NotAcceptable", details={})


def too_large(limit):
    return ApiError(413, f"Request entity too large: limit is {limit}", "RequestEntityTooLarge")


def too_many_requests(retry_after=1):
    return ApiError(429, "", text="Too many requests, please try again later.\n",
                    headers={"Retry-After": str(retry_after), "X-Content-Type-Options": "nosniff"})


def patch_failed():
    return ApiError(422, "the server rejected our request due to an error in our request", "Invalid",
                    details={})


def unparsable_version(value):
    return ApiError(500, f'resourceVersion: Invalid value: "{value}": strconv.ParseUint: '
                    f'parsing "{value}": invalid syntax')


def version_too_large(wanted, current):
    return ApiError(504, f"Timeout: Too large resource version: {wanted}, current: {current}",
                    "Timeout", headers={"Retry-After": "1"},
                    details={"causes": [{"reason": "ResourceVersionTooLarge",
                                         "message": "Too large resource version"}],
                             "retryAfterSeconds": 1})


def expired(message, token=None):
    return ApiError(410, message, "Expired", metadata={"continue": token} if token else {})


class Fault:
    """One thing that is wrong with a field; several make an `invalid`."""

    def __init__(self, field, what, text=""):
        self.field = field
        self.reason, begin = CAUSES[what]
        self.message = begin + (f": {text}" if text else "")

    def cause(self):
        return {"reason": self.reason, "message": self.message, "field": self.field}


def invalid(kind, group, name, faults, twice=False):
    """422. `twice` lists each cause a second time: what the real server does where two layers check."""
    texts = [f"{fault.field}: {fault.message}" for fault in faults]
    message = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    causes = [fault.cause() for fault in faults for _ in range(2 if twice else 1)]
    details = {"name": name} if name else {}
    if group:
        details["group"] = group
    details.update({"kind": kind, "causes": causes})
    shown = f"{kind}.{group}" if group else kind
    return ApiError(422, f'{shown} "{name}" is invalid: {message}', "Invalid", details)
