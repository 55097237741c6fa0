"""Pages in, text with boxes out: DeepSeek-OCR and PP-OCR behind one pipeline."""

__version__ = "0.1.0"
