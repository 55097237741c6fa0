"""PP-OCR on the CPU: lines from rapidocr's models, page structure from our own code."""
