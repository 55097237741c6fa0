"""Read PDFs and pictures into Markdown, page by page: `ocr_pdf.py INPUT... -o OUT`."""

import sys

from deepocr.book.cli import main

if __name__ == "__main__":
    sys.exit(main())
