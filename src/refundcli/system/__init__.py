"""What refundcli asks of the operating system: signals, and which processes are alive."""
