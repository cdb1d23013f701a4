"""HTML pages and pictures: the frame that all share, contact sheets, the pages of `browse`."""
