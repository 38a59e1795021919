"""The ledger of requests: what was asked, by when it must be answered, and what was done."""
