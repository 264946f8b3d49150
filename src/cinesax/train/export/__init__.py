"""From a finished run to a bundle, and to other runtimes."""
