"""Are the largest faces of two photos the same person's?

python verify_two_photos.py A.jpg B.jpg
"""

import sys

import facecore as fc


def main(first: str, second: str) -> int:
    try:
        answer = fc.verify(first, second, far=1e-3)
    except (fc.FaceError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    verdict = "the same person" if answer else "different people"
    print(
        f"{verdict}: similarity {answer.similarity:.4f}, threshold {answer.threshold:.4f} (false-accept rate {answer.far:g})"
    )
    return 0 if answer else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
