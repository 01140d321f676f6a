"""The JSON that gateways push (docs/gateway-protocol.md): payloads in, one batch out. Pure."""

from adapters.sources.payload.decoder import Decoded, Message, PayloadDecoder
from adapters.sources.payload.receipts import Receipt, RefusedRows, answer

__all__ = ["Decoded", "Message", "PayloadDecoder", "Receipt", "RefusedRows", "answer"]
