"""What sources have in common that gateways themselves connect to, whatever they speak: letting
connections in, how much each gateway may have, and bodies that become answers after the sync."""
