"""`scenes`: a made-up data set whose difficulties are knobs."""
