"""refundcli: refund invoices, exactly once."""

__version__ = "0.1.0"
