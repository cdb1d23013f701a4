"""What a network sees and what it costs: receptive fields, valid taps, checkerboards, time and memory."""
