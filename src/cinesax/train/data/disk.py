"""What TensorFlow says of a disk that takes no more, as what Python says of it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

_REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def system_errors() -> Iterator[None]:
    """Let an error of TensorFlow that is one of a disk be an OSError.

    TensorFlow sorts them under names that mean other things too: a full disk and a full memory are both a
    ResourceExhaustedError. What the system said is in the message.

    Raises:
        OSError: a file cannot be written (or what else the block raises).
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = next((one for one in _REASONS if os.strerror(one) in str(error.message)), None)
        if reason is None:
            raise
        raise OSError(reason, os.strerror(reason)) from None
