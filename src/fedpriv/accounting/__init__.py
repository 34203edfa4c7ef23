"""What releases cost: sampling laws, accountants, calibration, the ledger's entries, and what may be claimed.

Light on purpose: neither this package nor its ``sampled_gaussian`` and ``ledger`` import an accounting library, and
nothing here imports torch.
"""
