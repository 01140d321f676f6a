"""DL/T 645-2007, what electricity meters in China speak: serial lines, transparent terminals."""

from adapters.sources.dlt645.source import Dlt645Source

__all__ = ["Dlt645Source"]
