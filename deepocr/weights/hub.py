"""Fetches files of a repository with huggingface_hub; a program of its own, run by sources.py.

A process of its own can be ended when it stalls, and keeps the hub's settings and threads out of
whoever wants the weights. It imports nothing of deepocr.

    python hub.py REPO REVISION FOLDER FILE...
"""

import sys

from huggingface_hub import snapshot_download


def main() -> None:
    repo, revision, folder, *names = sys.argv[1:]
    snapshot_download(repo, revision=revision, local_dir=folder, allow_patterns=names)


if __name__ == "__main__":
    main()
