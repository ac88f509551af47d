"""Enrols a folder with a folder of photos for each person, and says who is on other photos.

python identify_folder.py PEOPLE_FOLDER PHOTO...
"""

import sys
from pathlib import Path

import facecore as fc


def main(people: Path, photos: list[str]) -> None:
    pipeline = fc.Pipeline()
    with fc.Gallery(pipeline=pipeline) as gallery:
        for result in pipeline.analyze_folder(people):
            if isinstance(result, fc.Failure):
                print(f"left out: {result.error}", file=sys.stderr)
            elif result.largest is not None and result.source is not None:
                gallery.enroll(Path(result.source).parent.name, result.largest, existing="add")
        print(gallery)
        for photo in photos:
            for answer in gallery.identify(photo):
                print(f"{photo}: {answer.name or 'nobody'}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
