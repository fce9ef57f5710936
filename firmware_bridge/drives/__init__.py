"""What motor drives speak on serial ports: one file a protocol, bytes to arrays and back, SI outside."""
