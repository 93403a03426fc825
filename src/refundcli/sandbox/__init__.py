"""Simulated Stripe and Adyen on loopback, for practice, the demo and the tests."""
