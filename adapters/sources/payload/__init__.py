"""The JSON that gateways push (docs/gateway-protocol.md): payloads in, one batch out. Pure."""

from adapters.sources.payload.decoder import Decoded, Message, PayloadDecoder

__all__ = ["Decoded", "Message", "PayloadDecoder"]
