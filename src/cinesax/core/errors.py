"""Every exception that cinesax raises on purpose.

    CinesaxError                 exit code
    ├── UsageError                   2   an option or argument that is not valid
    ├── InputError                   3   a file or folder that cannot be read as the expected kind
    │   ├── NoShortAxisError         4   the exam holds no short-axis cine (or more than one choice was left)
    │   ├── GeometryError            5   missing, invalid or contradictory geometry or timing
    │   └── DatasetError             3   a prepared training set that is damaged or does not fit
    ├── BundleError                  6   a network bundle that is damaged or of another version
    ├── OutputError                  7   results that cannot be written
    │   └── NoObjectsError           7   DICOM objects that cannot be written; the other results are there
    ├── MissingExtraError            8   a feature whose optional packages are not installed
    └── DeliveryError                9   an archive that did not accept everything it was sent

A message is one line: what was seen, what was expected, what to do. The command line prints it without a
traceback and ends with the exit code of the class. An interrupt (Ctrl-C) ends with 130, a bug with 1.
"""


def printable(text: str) -> str:
    """A foreign text (a file name, a message), safe to print.

    Line ends, terminal escape sequences and undecodable bytes are replaced by their codes.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with its noun: "1 file", "3 files"."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


class CinesaxError(Exception):
    """Base of all errors that cinesax raises on purpose; `exit_code` is the exit code of the command."""

    exit_code = 1


class UsageError(CinesaxError):
    """An option or argument is not valid."""

    exit_code = 2


class InputError(CinesaxError):
    """A file or folder cannot be read as the expected kind."""

    exit_code = 3


class NoShortAxisError(InputError):
    """The exam holds no short-axis cine; the message lists its series."""

    exit_code = 4


class GeometryError(InputError):
    """Geometry or timing is missing, invalid, or contradicts itself."""

    exit_code = 5


class DatasetError(InputError):
    """A prepared training set is damaged or does not fit the request."""


class BundleError(CinesaxError):
    """A network bundle is damaged, incomplete, or of a version that this program does not read."""

    exit_code = 6


class OutputError(CinesaxError):
    """Results cannot be written to the requested place."""

    exit_code = 7


class NoObjectsError(OutputError):
    """DICOM objects were requested but cannot be made from this exam; all other results were written."""


class MissingExtraError(CinesaxError):
    """A feature needs optional packages that are not installed; the message names the extra."""

    exit_code = 8


def install_hint(extra: str) -> str:
    """How to install an extra. cinesax is installed from its checkout: pip would not find the name alone."""
    return f"install the extra, in the checkout of cinesax: pip install '.[{extra}]'"


class EngineError(CinesaxError):
    """The processes or the cluster that should do the work cannot be started or reached, or were lost."""

    exit_code = 10


class DeliveryError(CinesaxError):
    """An archive did not accept everything that was sent."""

    exit_code = 9
