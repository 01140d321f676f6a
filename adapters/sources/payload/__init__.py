"""What gateways push (docs/gateway-protocol.md): payloads in, one batch out. Pure."""

from adapters.sources.payload.clocks import ClockFinding, Clocks
from adapters.sources.payload.decoder import Decoded, Message, PayloadDecoder, form_of
from adapters.sources.payload.formats import OWN, Format, parse_formats
from adapters.sources.payload.mappings import load_formats
from adapters.sources.payload.receipts import Receipt, RefusedRows, answer, busy, remedy

__all__ = [
    "OWN",
    "ClockFinding",
    "Clocks",
    "Decoded",
    "Format",
    "Message",
    "PayloadDecoder",
    "Receipt",
    "RefusedRows",
    "answer",
    "busy",
    "form_of",
    "load_formats",
    "parse_formats",
    "remedy",
]
