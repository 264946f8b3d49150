"""cinesax: from a short-axis cine cardiac MRI exam to LV contours, volumes, ejection fraction and a report.

For research; not a medical device.
"""

from cinesax._version import __version__

__all__ = ["__version__"]
