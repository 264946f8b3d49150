"""Turn TensorFlow's disk errors into Python's."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise TensorFlow's disk errors as OSError.

    TensorFlow's error classes are ambiguous: a full disk and full memory are both a ResourceExhaustedError. So the
    system's message decides.

    Raises:
        OSError: a file cannot be written (or any other error of the block).
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = next((code for code in _REASONS if os.strerror(code) in str(error.message)), None)
        if reason is None:
            raise
        raise OSError(reason, os.strerror(reason)) from None
