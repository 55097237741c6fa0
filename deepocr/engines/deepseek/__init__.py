"""DeepSeek-OCR and its family: pictures to views, views to features, features to text."""

import os

from deepocr.engines.deepseek.threads import set_thread_defaults

# here, as nothing of this package can import torch before its own first lines have run
set_thread_defaults(os.environ)
