"""Run folders -> tables and one HTML page. Imports no torch."""
