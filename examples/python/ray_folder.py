"""Embeds the faces of a folder of photos on a Ray cluster, into Parquet files and a gallery.

python ray_folder.py FOLDER FACES_PARQUET_FOLDER GALLERY

FOLDER has a folder for each person and lies where every machine sees it (a shared disk, or an s3:// address); GALLERY is a file
of this machine, or postgresql://USER@HOST/DATABASE.
"""

import sys
from pathlib import Path

import facecore as fc
import facecore.ray
import ray


def main(folder: str, parquet: str, place: str) -> None:
    photos = ray.data.read_binary_files(folder, include_paths=True)
    # As many pipelines as the cluster has cores for, up to 64.
    facecore.ray.analyze(photos, actors=(1, 64)).write_parquet(parquet)
    with fc.Gallery(place) as gallery:
        faces = ray.data.read_parquet(parquet)
        enrolled, left_out = facecore.ray.enroll(faces, gallery, name=lambda source: Path(source).parent.name)
        print(f"{enrolled} templates enrolled, {left_out} photos left out")
        print(gallery)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    ray.init()
    main(*sys.argv[1:])
