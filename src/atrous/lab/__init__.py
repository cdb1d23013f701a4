"""The dilation lab: what the rates of a study score, see and cost, measured and joined on one page."""
