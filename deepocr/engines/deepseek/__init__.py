"""DeepSeek-OCR: pictures to views, views to features, features to text."""
