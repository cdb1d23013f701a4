"""What a network sees and what it costs: receptive fields, valid weights, checkerboards, time and memory."""
