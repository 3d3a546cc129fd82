"""The published constitutions and the code that reads them."""
