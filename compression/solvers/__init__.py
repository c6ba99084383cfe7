"""The mathematics that layer-wise techniques share: moments, least squares, rounding, clipping, codebooks."""
