"""What hub and agent say to each other: topics, messages, manifests and signatures.

No I/O: values in, values out. Files, sockets and clocks belong to `shoal_agent` and `shoal_hub`.
"""

__version__ = "0.1.0"
