"""Modbus TCP, RTU over TCP and serial RTU: device models as data, one task per connection."""

from adapters.sources.modbus.source import ModbusSource

__all__ = ["ModbusSource"]
