"""What went wrong in a storage, as one error with its cure.

The clients of object storage raise errors of their own, many of which are no `OSError`. They are
known by the package that they come from, so that none is imported here.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from florilegium.engine.core.errors import StorageError

CURES = {
    errno.ENOSPC: "the disk is full: free some space (or inodes, `df -i`) and run the same command "
    "again, it resumes",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: choose another `output`",
    errno.EACCES: "permission denied: choose another `output` or change the permissions",
    errno.EPERM: "permission denied: choose another `output` or change the permissions",
    errno.EIO: "the disk or the network behind it failed: look at the system's log, then run the "
    "same command again, it resumes",
    errno.ENAMETOOLONG: "the path is too long for this file system: choose a shorter `output`",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n`) and run it again",
    errno.ENOENT: "something deleted or moved the folder meanwhile: run the same command again",
}
"""What to do about an error of the operating system, by its number."""

_CLIENTS = frozenset({"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google"})
"""The packages of the clients, and of what they are made of."""

_NO_BUCKET = "create the bucket first, or correct its name"
_KEY = (
    "the storage does not know this key, or it has expired: renew it in the environment "
    "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE)"
)
_NO_KEY = (
    "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    'for a public bucket, write {"s3": {"anon": true}} to ~/.config/fsspec/s3.json'
)
_DENIED = "these credentials must be allowed to list, read, write and delete there"
_REGION = "the bucket is in another region: set AWS_DEFAULT_REGION to it"
_CLOCK = "the clock of this machine is wrong: set it, then run the same command again, it resumes"
_BUSY = (
    "the storage was busy or failed, after several tries, too: run the same command again later, "
    "it resumes"
)
_DOWN = (
    "the storage does not answer, after several tries, too: check the network and its address "
    "(AWS_ENDPOINT_URL), then run the same command again, it resumes"
)
_BY_CODE = {
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound"), _NO_BUCKET),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
         "TokenRefreshRequired", "InvalidClientTokenId", "AuthenticationFailed"), _KEY,
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), _DENIED),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
         "301"), _REGION,
    ),
    "RequestTimeTooSkewed": _CLOCK,
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted",
         "BadDigest", "500", "502", "503", "504", "ServerBusy", "OperationTimedOut"), _BUSY,
    ),
}  # fmt: skip
"""What to do about an answer of the storage, by its code."""
_BY_NAME = {
    **dict.fromkeys(
        ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"), _NO_KEY
    ),
    **dict.fromkeys(("ProfileNotFound", "NoRegionError"), "correct AWS_PROFILE or the region"),
    **dict.fromkeys(("ParamValidationError", "InvalidURL"), "correct the URL"),
}
"""What to do about an error of a client, by the name of its class."""
_OF_ONE_FILE = frozenset(
    {"AccessDenied", "NoSuchKey", "InvalidObjectState", "InvalidRange", "PreconditionFailed",
     "403", "404", "412", "416"}
)  # fmt: skip
"""Codes that concern one file; the next one may be read."""

_BROKEN = frozenset({errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO)})


def storage_error(verb: str, path: str, error: BaseException) -> StorageError:
    """Return the error of an operation on a file, with its cure."""
    what = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StorageError(f"cannot {verb} {path}: {what}; {_cure(error)}")


def is_of_storage(error: BaseException) -> bool:
    """Whether an error is of the system or of a storage's client, and not of the program."""
    return isinstance(error, OSError) or is_of_client(error)


def is_of_client(error: BaseException) -> bool:
    """Whether an error is one of a storage's client that is no `OSError`."""
    origins = {one.__module__.partition(".")[0] for one in type(error).__mro__}
    return not isinstance(error, OSError) and not origins.isdisjoint(_CLIENTS)


def is_outage(error: BaseException) -> bool:
    """Whether an object storage as a whole failed, after its client tried again, and not one file
    of it, which may be gone or forbidden."""
    if code := _code(error):
        return code not in _OF_ONE_FILE
    if isinstance(error, OSError):
        return error.errno in _BROKEN or isinstance(error, ConnectionError | TimeoutError)
    return is_of_client(error)


@contextmanager
def failing(verb: str, path: str) -> Iterator[None]:
    """Turn errors of the system and of a storage's client into ours while the block runs.

    Raises:
        StorageError: with the path and the cure.
    """
    try:
        yield
    except Exception as error:
        if not is_of_storage(error):
            raise
        raise storage_error(verb, path, error) from error


def _cure(error: BaseException) -> str:
    if cure := _BY_CODE.get(_code(error)) or _BY_NAME.get(type(error).__name__):
        return cure
    if is_of_client(error) or isinstance(error, ConnectionError | TimeoutError):
        return _DOWN
    number = getattr(error, "errno", None) or 0
    return CURES.get(number, "check the path, the permissions and the free space")


def _code(error: BaseException) -> str:
    """Return the code that the storage answered, or nothing; s3fs names it in the cause only."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code", ""))
        if one is not None and is_of_client(one):
            names = ("error_code", "status", "code")  # of Azure, aiohttp and gcsfs
            if code := next((getattr(one, name) for name in names if hasattr(one, name)), None):
                return str(code)
    return ""
