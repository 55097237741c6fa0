"""From results to what is handed out: Markdown, JSON, pictures, HTML, PDF."""
