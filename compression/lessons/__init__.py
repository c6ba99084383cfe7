"""What the lessons show, computed on real weights and images with NumPy alone, so that a page needs no torch.

One module a lesson; `networks`, `forward` and `pictures` are what they share. What takes longer than a tenth of a
second is measured by `python -m benchmarks lessons` and read from `measured`, with the machine it was measured on.
"""
