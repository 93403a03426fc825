"""refundcli: give money back, exactly once."""

__version__ = "0.1.0"
