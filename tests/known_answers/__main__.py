"""Write every file of known answers anew."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a folder that is started has not its parent on the path

from known_answers.files import PUBLISHED, VECTORS, all_files

if __name__ == "__main__":
    files = all_files()
    for path in VECTORS.glob("*.json"):
        if path.name not in {PUBLISHED, *files}:
            path.unlink()
    for name, text in files.items():
        (VECTORS / name).write_text(text, encoding="utf-8")
    print(f"{len(files)} files, {sum(map(len, files.values())) // 1024} KiB, in {VECTORS}")
